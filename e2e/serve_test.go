package e2e

import (
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/raft-control-plane/control-plane/internal/testport"
)

// tool runs the binary to its end and returns what it printed.
func tool(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(raftNode, args...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errOut, cleanEnv()
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func TestCommandLine(t *testing.T) {
	c := newCluster(t, 3)
	c.addAgent("n1", 2, "--label", "gpu=no", "--provider", "aws", "--region", "us-east-1", "--spot", "--price-per-hour", "0.17")
	do := func(want string, args ...string) string {
		t.Helper()
		out, errOut, code := tool(t, append(args, "--server", c.servers())...)
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("%v: exit %d, want %q in\n%s%s", args, code, want, out, errOut)
		}
		return out
	}
	out, errOut, code := tool(t, "submit", "--server", c.servers(), "--wait", "--id", "cli-1", "--", "sh", "-c", "echo to-out; echo to-err >&2; exit 7")
	if code != 7 || !strings.Contains(out, "to-out") || !strings.Contains(out, "to-err") {
		t.Errorf("submit --wait: exit %d, want 7\n%s%s", code, out, errOut)
	}
	do("cli-1", "task", "get", "cli-1")
	do("cli-1", "task", "list", "--status", "failed")
	do("aws", "node", "list")
	do("n1", "node", "get", "n1")
	do("m2", "cluster", "status")
	do("FAILED", "sql", "SELECT status FROM attempts WHERE task_id = 'cli-1'")
	do(`"exitCode":`, "task", "get", "cli-1", "-o", "json")
	out, errOut, code = tool(t, "submit", "--server", c.servers(), "--id", "cli-2", "--", "sleep", "600")
	if code != 0 || !strings.Contains(out, "cli-2") {
		t.Errorf("submit: exit %d\n%s%s", code, out, errOut)
	}
	until(t, "cli-2 runs", func() bool { return c.get("m1", "cli-2").Status == "TASK_STATUS_RUNNING" })
	do("cli-2", "task", "cancel", "cli-2")
	if end := c.ends("cli-2"); end.Status != "TASK_STATUS_CANCELLED" {
		t.Errorf("after cancel: %+v", end)
	}
	if _, errOut, code := tool(t, "task", "get", "nowhere", "--server", c.servers()); code == 0 || !strings.Contains(errOut, "nowhere") {
		t.Errorf("an unknown task: exit %d, %s", code, errOut)
	}
	if _, errOut, code := tool(t, "task", "list", "--server", "http://"+testport.Address(t), "--call-timeout", "1s"); code == 0 || !strings.Contains(errOut, "raft-node serve") {
		t.Errorf("nobody listens: exit %d, %s", code, errOut)
	}
}

func TestTheBinaryIsStatic(t *testing.T) {
	file, err := exec.Command("go", "version", "-m", raftNode).CombinedOutput()
	if err != nil || !strings.Contains(string(file), "CGO_ENABLED=0") {
		t.Errorf("go version -m: %v\n%s", err, file)
	}
}

func TestRefusalsAtTheStart(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	dir := t.TempDir()
	for want, args := range map[string][]string{
		"--token-file":    {"--listen", "0.0.0.0:0", "--data-dir", dir},
		"port is in use":  {"--listen", busy.Addr().String(), "--data-dir", dir},
		"bootstrap":       {"--bootstrap-expect", "3", "--data-dir", dir},
		"no such file":    {"--token-file", filepath.Join(dir, "nothing"), "--data-dir", dir},
		"unknown flag":    {"--no-such-flag"},
		"--tls-key":       {"--tls-cert", "x", "--data-dir", dir},
		"--name":          {"--name", "a b", "--listen", "127.0.0.1:0", "--data-dir", dir},
		"not a directory": {"--listen", "127.0.0.1:0", "--data-dir", raftNode},
	} {
		_, errOut, code := tool(t, append([]string{"serve"}, args...)...)
		if code == 0 || !strings.Contains(errOut, want) {
			t.Errorf("serve %v: exit %d, want %q in\n%s", args, code, want, errOut)
		}
	}
}

func TestADataDirectoryInUse(t *testing.T) {
	c := newCluster(t, 1)
	var dir string
	for i, arg := range c.members["m1"].args {
		if arg == "--data-dir" {
			dir = c.members["m1"].args[i+1]
		}
	}
	_, errOut, code := tool(t, "serve", "--name", "m1", "--listen", "127.0.0.1:0", "--data-dir", dir)
	if code == 0 || !strings.Contains(errOut, "in use by another process") {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

func TestStopsOnSIGTERM(t *testing.T) {
	c := newCluster(t, 3)
	c.addAgent("n1", 1)
	c.submit("long", "sleep", "600")
	until(t, "the task runs", func() bool { return c.get("m1", "long").Status == "TASK_STATUS_RUNNING" })
	c.agents["n1"].signal(syscall.SIGTERM)
	if code := c.agents["n1"].wait(); code != 0 {
		t.Errorf("the agent ended with %d", code)
	}
	if back := c.get("m1", "long"); back.Status != "TASK_STATUS_PENDING" || back.LostCount != 0 {
		t.Errorf("the task of an agent that was stopped: %+v, want it handed back", back)
	}
	for _, name := range c.names {
		c.members[name].signal(syscall.SIGTERM)
	}
	for _, name := range c.names {
		if code := c.members[name].wait(); code != 0 {
			t.Errorf("%s ended with %d", name, code)
		}
	}
}

func TestPortVariable(t *testing.T) {
	address := testport.Address(t)
	_, port, _ := net.SplitHostPort(address)
	p := newProcess(t, "m1", "serve", "--name", "m1", "--data-dir", t.TempDir())
	p.startWith(append(cleanEnv(), "PORT="+port))
	until(t, "it serves at $PORT", func() bool {
		resp, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func TestLoopbackWithoutTokenAsksForALoopbackName(t *testing.T) {
	c := newCluster(t, 1)
	req, _ := http.NewRequest(http.MethodPost, "http://"+c.addresses["m1"]+"/controlplane.v1.ClusterService/GetCluster", strings.NewReader("{}"))
	req.Header.Set("Content-Type", "application/json")
	for host, want := range map[string]int{"attacker.example": http.StatusForbidden, "localhost:8080": http.StatusOK, "127.0.0.1": http.StatusOK} {
		req.Host = host
		req.Body, _ = req.GetBody()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Host %s: %s, want %d", host, resp.Status, want)
		}
	}
	for _, path := range []string{"/raft/member", "/metrics", "/"} {
		get, _ := http.NewRequest(http.MethodGet, "http://"+c.addresses["m1"]+path, nil)
		get.Host = "attacker.example"
		resp, err := http.DefaultClient.Do(get)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("GET %s for another host: %s", path, resp.Status)
		}
	}
}

// A cluster as it is run between machines: TLS, one token, and agents and commands
// that have both.
func TestTokenAndTLS(t *testing.T) {
	c, sec := newSecureCluster(t, 3)
	c.addAgent("n1", 1)
	_, followers := c.leader()
	var a struct{ Task task }
	c.call(followers[0], "TaskService/SubmitTask", m{"task": m{"id": "x", "exec": m{"command": []string{"sh", "-c", "env"}}}}, &a)
	end := c.ends("x")
	if end.Status != completed || strings.Contains(end.LogTail, "correct-horse") {
		t.Errorf("the task: %+v", end)
	}
	out, errOut, code := tool(t, "cluster", "status", "--server", c.servers(), "--token-file", sec.tokenFile, "--tls-ca", sec.certFile)
	if code != 0 || !strings.Contains(out, "m3") {
		t.Errorf("cluster status: exit %d\n%s%s", code, out, errOut)
	}
	right := c.token
	c.token = "wrong"
	if err := c.try("m1", "ClusterService/GetCluster", m{}, &m{}); codeOf(err) != "unauthenticated" {
		t.Errorf("a wrong token: %v", err)
	}
	c.token = right // members are compared yet
}
