package e2e

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/raft-control-plane/control-plane/internal/testport"
)

// toolIn runs the binary to its end with some variables set, and returns what it said
// of its failure.
func toolIn(t *testing.T, env []string, args ...string) (stderr string, code int) {
	t.Helper()
	cmd := exec.Command(raftNode, args...)
	var errOut strings.Builder
	cmd.Stderr, cmd.Env = &errOut, append(cleanEnv(), env...)
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return errOut.String(), cmd.ProcessState.ExitCode()
}

// wants looks for texts, each on a line of its own, and for nothing else.
func wants(t *testing.T, text string, lines ...string) {
	t.Helper()
	given := strings.Split(strings.TrimSpace(text), "\n")
	if last := given[len(given)-1]; strings.HasPrefix(last, "See 'raft-node ") {
		given = given[:len(given)-1]
	}
	for _, want := range lines {
		found := false
		for _, line := range given {
			found = found || strings.Contains(line, want)
		}
		if !found {
			t.Errorf("no line with %q in\n%s", want, text)
		}
	}
	if len(given) != len(lines) {
		t.Errorf("%d lines for %d mistakes:\n%s", len(given), len(lines), text)
	}
}

func TestAllMistakesInAConfigurationAtOnce(t *testing.T) {
	dir := t.TempDir()
	errOut, code := toolIn(t, []string{"RAFT_NODE_LOG_LEVEL=loud"},
		"serve", "--name", "a b", "--listen", "nowhere", "--advertise", ":0", "--data-dir", dir, "--join", "http://x:1,y", "--bootstrap-expect", "99",
		"--token-file", filepath.Join(dir, "nothing"), "--tls-cert", "c", "--cors-origin", "example.com/path", "--log-format", "xml")
	if code != 2 {
		t.Errorf("exit %d", code)
	}
	wants(t, errOut, "--name", "--listen", "--advertise", `--join "http://x:1"`, `--join "y"`, "--bootstrap-expect", "--token-file", "--tls-cert", "--cors-origin", "--log-level", "--log-format")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("a member that did not start left %v, %v", left, err)
	}
}

func TestAllMistakesInAnAgentsConfigurationAtOnce(t *testing.T) {
	errOut, code := toolIn(t, nil, "agent", "--server", "ftp://x", "--name", "a b", "--slots", "100000", "--cpu", "many", "--memory", "5 apples", "--gpus", "first",
		"--label", "nolabel", "--price-per-hour", "free", "--log-level", "loud", "--log-format", "xml")
	if code != 2 {
		t.Errorf("exit %d", code)
	}
	wants(t, errOut, "--server", "--name", "--slots", "--cpu", "--memory", "--gpus", "--label", "--price-per-hour", "--log-level", "--log-format")
}

func TestAllMistakesInAFileAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "raft-node.yaml")
	if err := os.WriteFile(file, []byte("listen: 127.0.0.1:0\nlissten: x\nname: a\nname: b\njoin: {a: {b: c}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	errOut, code := toolIn(t, nil, "serve", "--config", file)
	if code != 2 {
		t.Errorf("exit %d", code)
	}
	wants(t, errOut, file+`:2: unknown key "lissten"`, file+":4: name is given twice", file+":5: join: is nested too deep")
}

func TestADataDirectoryThatIsNone(t *testing.T) {
	c := newCluster(t, 1)
	dir := dataDir(c.members["m1"])
	c.members["m1"].signal(syscall.SIGTERM)
	c.members["m1"].wait()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, given := range map[string]string{
		`belongs to member "m1", not "m2"`: dir,
		"not a directory":                  file,
		"--data-dir /proc/nothing/x":       "/proc/nothing/x",
	} {
		errOut, code := toolIn(t, nil, "serve", "--name", "m2", "--listen", "127.0.0.1:0", "--data-dir", given)
		if code != 1 || !strings.Contains(errOut, "--data-dir "+given) || !strings.Contains(errOut, want) {
			t.Errorf("exit %d, want %q in\n%s", code, want, errOut)
		}
	}
}

func dataDir(p *process) string {
	for i, arg := range p.args {
		if arg == "--data-dir" {
			return p.args[i+1]
		}
	}
	p.t.Fatal("no --data-dir")
	return ""
}

// TestAJoinThatLeadsNowhere starts members that are told to join what they cannot. They
// wait, since what they are told to join may still be starting, and say why.
func TestAJoinThatLeadsNowhere(t *testing.T) {
	site := httptest.NewServer(http.NotFoundHandler())
	defer site.Close()
	cert, key := newCertificate(t, t.TempDir())
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	ssh, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ssh.Close()
	go greet(ssh)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("one-token-of-this-member-only\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, 1)
	for name, j := range map[string]struct{ address, want string }{
		"nobody":  {testport.Address(t), "connection refused"},
		"site":    {site.Listener.Addr().String(), "HTTP 404: is it a member of this release?"},
		"ssh":     {ssh.Addr().String(), "malformed HTTP"},
		"itself":  {"", "none of the addresses in --join is a member of a running cluster"},
		"secrets": {c.addresses["m1"], "the token is missing or another one"},
		"plain":   {secure.Listener.Addr().String(), "it serves TLS, and this member does not: give it --tls-cert, --tls-key and --tls-ca"},
		"secure":  {c.addresses["m1"], "it serves no TLS, and this member does: start all members with --tls-cert and --tls-key, or none"},
	} {
		address := testport.Address(t)
		if j.address == "" {
			j.address = address
		}
		args := []string{"serve", "--name", name, "--listen", address, "--data-dir", filepath.Join(t.TempDir(), name), "--join", j.address}
		if name == "secure" {
			args = append(args, "--tls-cert", cert, "--tls-key", key)
		}
		if name == "secrets" {
			args = append(args, "--token-file", token)
		}
		p := newProcess(t, name, args...).start()
		until(t, name+" says why it waits", func() bool {
			return strings.Contains(p.output(), "waiting to be part of a cluster") && strings.Contains(p.output(), j.want) && strings.Contains(p.output(), j.address)
		})
		if name == "secure" { // only callers of TLS can ask it
			p.signal(syscall.SIGTERM)
			if code := p.wait(); code != 0 {
				t.Errorf("%s ends with %d", name, code)
			}
			continue
		}
		resp, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "not ready: ") {
			t.Errorf("%s: /readyz: %s %s", name, resp.Status, text)
		}
		p.signal(syscall.SIGTERM)
		if code := p.wait(); code != 0 {
			t.Errorf("%s ends with %d", name, code)
		}
	}
	if got := c.query("m1", "SELECT count(*) FROM tasks"); got[0][0] != "0" {
		t.Errorf("the cluster: %v", got)
	}
}

// greet speaks first, as no HTTP server does.
func greet(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.7\r\n")
		_ = conn.Close()
	}
}

func TestADataDirectoryOfAnotherCluster(t *testing.T) {
	one, other := newCluster(t, 1), newCluster(t, 1)
	p := other.members["m1"]
	p.signal(syscall.SIGTERM)
	p.wait()
	p.args = append(p.args, "--join", one.addresses["m1"])
	p.start()
	until(t, "it says that it keeps to its own cluster", func() bool {
		return strings.Contains(p.output(), "keeps to the cluster in its data directory") && strings.Contains(p.output(), one.addresses["m1"])
	})
	other.ready()
	other.submit("x", "true")
	if got := one.query("m1", "SELECT count(*) FROM tasks"); got[0][0] != "0" {
		t.Errorf("a task of the other cluster: %v", got)
	}
}
