package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/testport"
)

// docAddress is what the documentation calls a member.
const docAddress = "localhost:8080"

// example is a block of commands, with the answer that it is said to give.
type example struct {
	commands string
	fails    bool
	answer   string // JSON, in part; "" if none is shown
}

var fence = regexp.MustCompile("(?ms)^```([a-z ]+)\n(.*?)^```$")

func examples(t *testing.T, file string) (list []example) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", file))
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		switch info := block[1]; {
		case info == "json" && len(list) > 0:
			list[len(list)-1].answer = block[2]
		case strings.HasPrefix(info, "sh"):
			list = append(list, example{commands: block[2], fails: info == "sh fails"})
		}
	}
	return list
}

// TestExamplesOfTheAPI runs docs/api.md from top to bottom, as it stands but for the
// address.
func TestExamplesOfTheAPI(t *testing.T) {
	list := examples(t, "api.md")
	c := prepare(t, 1)
	// A port of its own, though 8080 may be free: whatever else looks for a member there
	// would take the tasks of the examples.
	address := strings.Replace(c.addresses["m1"], "127.0.0.1", "localhost", 1)
	c.members["m1"].start()
	c.ready()

	home := t.TempDir() // curl is quiet, and fails when the server refuses
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte("silent\nshow-error\nfail-with-body\nipv4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(cleanEnv(), "CURL_HOME="+home, "HOME="+home)
	for _, e := range list {
		commands := strings.ReplaceAll(e.commands, docAddress, address)
		cmd := exec.Command("bash", "-euc", commands)
		cmd.Env = env
		var errOut strings.Builder
		cmd.Stderr = &errOut
		out, err := cmd.Output()
		if (err != nil) != e.fails || len(out) == 0 {
			t.Errorf("%s\n%v, %s%s", commands, err, out, errOut.String())
			continue
		}
		if e.answer != "" {
			checkAnswer(t, e, out)
		}
	}
	eachMethodHasAnExample(t, list)
}

// port is a port of a member in docs/operations.md.
var port = regexp.MustCompile(`\b808[1-9]\b`)

// TestOperations runs docs/operations.md as one script, as it stands but for the
// ports.
func TestOperations(t *testing.T) {
	t.Parallel()
	var script strings.Builder
	script.WriteString("trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT\n")
	for _, e := range examples(t, "operations.md") {
		script.WriteString(e.commands)
	}
	ports := map[string]string{}
	text := port.ReplaceAllStringFunc(script.String(), func(p string) string {
		if ports[p] == "" {
			_, ports[p], _ = strings.Cut(testport.Address(t), ":")
		}
		return ports[p]
	})
	bin := t.TempDir()
	binary, err := filepath.Abs(raftNode)
	if err == nil {
		err = os.Symlink(binary, filepath.Join(bin, "raft-node"))
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euxc", text)
	cmd.Dir = t.TempDir()
	cmd.Env = append(cleanEnv(), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(cmd.Dir, "*.log"))
		for _, log := range logs {
			text, _ := os.ReadFile(log)
			t.Logf("the end of %s:\n%s", filepath.Base(log), tail(string(text), 3000))
		}
		t.Fatalf("%v\n%s", err, tail(string(out), 6000))
	}
	for _, want := range []string{"b leads", "d is no member any more", "monday.db: ", "restored the state at index", "recovered the state at index", "m3.pem: OK", "\nover TLS\n", `"leader":"m`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func checkAnswer(t *testing.T, e example, out []byte) {
	t.Helper()
	var want, got any
	if err := json.Unmarshal([]byte(e.answer), &want); err != nil {
		t.Fatalf("%s\n%v", e.answer, err)
	}
	if err := json.Unmarshal(out, &got); err != nil || !contains(got, want) {
		t.Errorf("%s\nanswers %s\nthe page says %s (%v)", e.commands, out, e.answer, err)
	}
}

// contains reports whether a JSON value has all that another shows; "…" stands for
// anything.
func contains(got, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		for k, v := range w {
			ok = ok && contains(g[k], v)
		}
		return ok
	case []any:
		g, ok := got.([]any)
		ok = ok && len(g) == len(w)
		for i := 0; ok && i < len(w); i++ {
			ok = contains(g[i], w[i])
		}
		return ok
	}
	return want == "…" && got != nil || got == want
}

func eachMethodHasAnExample(t *testing.T, list []example) {
	t.Helper()
	var all strings.Builder
	for _, e := range list {
		all.WriteString(e.commands)
	}
	for _, file := range []protoreflect.FileDescriptor{
		v1.File_controlplane_v1_task_proto, v1.File_controlplane_v1_node_proto, v1.File_controlplane_v1_event_proto,
		v1.File_controlplane_v1_cluster_proto, v1.File_controlplane_v1_query_proto, v1.File_controlplane_v1_queue_proto, v1.File_controlplane_v1_log_proto,
	} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				path := string(service.FullName()) + "/" + string(service.Methods().Get(j).Name())
				if !regexp.MustCompile(regexp.QuoteMeta(path) + `\b`).MatchString(all.String()) {
					t.Errorf("docs/api.md has no example of %s", path)
				}
			}
		}
	}
}
