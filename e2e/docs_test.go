package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
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
		v1.File_controlplane_v1_cluster_proto, v1.File_controlplane_v1_query_proto,
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
