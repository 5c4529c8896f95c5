package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAModuleOfYourOwn runs docs/go.md from top to bottom: a module outside of this
// repository, which takes none of its replacements by itself, with a worker and a
// submitter. Modules come from the cache, or from where Go is configured to get them.
func TestAModuleOfYourOwn(t *testing.T) {
	t.Parallel()
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, 1)
	script := "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n" + goScript(t)
	script = strings.NewReplacer("../control-plane", repository, "http://127.0.0.1:8080", c.servers()).Replace(script)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euxc", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(cleanEnv(), "GOWORK=off")
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "rate 0.1: weight 3.000 (task ") {
		t.Errorf("%v\n%s", err, tail(string(out), 6000))
	}
	if rows := c.query("m1", `SELECT status, count(*) FROM tasks GROUP BY status`); len(rows) != 1 || rows[0][0] != "COMPLETED" || rows[0][1] != "3" {
		t.Errorf("tasks: %v", rows)
	}
}

// goScript is the commands of docs/go.md, with what writes the files between them.
func goScript(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/go.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		if block[1] == "sh" {
			script.WriteString(block[2])
			continue
		}
		first, _, _ := strings.Cut(block[2], "\n")
		file, ok := strings.CutPrefix(first, "// ")
		if block[1] != "go" || !ok || !strings.HasSuffix(file, ".go") {
			t.Fatalf("a block of %s begins with %q: name its file", block[1], first)
		}
		script.WriteString("mkdir -p " + filepath.Dir(file) + "\ncat >" + file + " <<'END'\n" + block[2] + "END\n")
	}
	return script.String()
}
