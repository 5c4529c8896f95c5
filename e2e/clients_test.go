package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestClientsOfOthers calls a follower with the tools that people have and with the
// clients in examples/clients, each as it stands: in plaintext, and with TLS and a
// token.
func TestClientsOfOthers(t *testing.T) {
	plain := newCluster(t, 3)
	secure, sec := newSecureCluster(t, 3)
	plain.addAgent("n1", 4)
	secure.addAgent("n1", 4)
	_, plainFollowers := plain.leader()
	_, secureFollowers := secure.leader()
	p, s := plainFollowers[0], secureFollowers[0]

	t.Run("grpcurl", func(t *testing.T) { testGrpcurl(t, plain.addresses[p], "-plaintext") })
	t.Run("grpcurl TLS", func(t *testing.T) {
		testGrpcurl(t, secure.addresses[s], "-cacert", sec.certFile, "-H", "authorization: Bearer "+secret)
		failTool(t, 1, []string{"Unauthenticated", "token is missing or wrong"}, "grpcurl", "-cacert", sec.certFile, "-H", "authorization: Bearer wrong",
			"-d", "{}", secure.addresses[s], "controlplane.v1.ClusterService/GetCluster")
	})
	t.Run("buf curl", func(t *testing.T) { testBufCurl(t, "http://"+plain.addresses[p], "--http2-prior-knowledge") })
	t.Run("buf curl TLS", func(t *testing.T) {
		testBufCurl(t, "https://"+secure.addresses[s], "--cacert", sec.certFile, "-H", "authorization: Bearer "+secret)
	})
	for _, language := range exampleClients() {
		t.Run(language.name, func(t *testing.T) { language.test(t, "http://"+plain.addresses[p], plain, nil) })
		t.Run(language.name+" TLS", func(t *testing.T) { language.test(t, "https://"+secure.addresses[s], secure, sec) })
	}
	// Last, since it takes the majority away.
	t.Run("grpc_health_probe TLS", func(t *testing.T) {
		testHealthProbe(t, secure.addresses[s], "-tls", "-tls-ca-cert", sec.certFile, "-rpc-header", "authorization: Bearer "+secret)
	})
	t.Run("grpc_health_probe", func(t *testing.T) {
		testHealthProbe(t, plain.addresses[p])
		testHealthProbeAlone(t, plain, p)
	})
}

// goTools are the tools by the module that pins them.
var goTools = map[string]string{"grpcurl": "tools/grpc", "grpc-health-probe": "tools/grpc", "buf": "tools/buf"}

// runTool runs a tool of Go's to its end, in the root of the repository, and returns
// all that it printed.
func runTool(t *testing.T, name string, args ...string) (out string, code int) {
	t.Helper()
	return runForeign(t, nil, "go", append([]string{"tool", "-modfile=" + goTools[name] + "/go.mod", name}, args...)...)
}

func runForeign(t *testing.T, env []string, name string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var text bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = "..", &text, &text, append(clientEnv(t), env...)
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("%s: %v", name, err)
	}
	return text.String(), cmd.ProcessState.ExitCode()
}

// wantTool runs a tool that must succeed and print each of the texts.
func wantTool(t *testing.T, wants []string, name string, args ...string) {
	t.Helper()
	out, code := runTool(t, name, args...)
	if code != 0 || !containsAll(out, wants) {
		t.Errorf("%s %s: exit %d, want 0 and each of %q in\n%s", name, strings.Join(args, " "), code, wants, out)
	}
}

// failTool runs a tool that must end with a code and print each of the texts.
func failTool(t *testing.T, want int, wants []string, name string, args ...string) {
	t.Helper()
	out, code := runTool(t, name, args...)
	if code != want || !containsAll(out, wants) {
		t.Errorf("%s %s: exit %d, want %d and each of %q in\n%s", name, strings.Join(args, " "), code, want, wants, out)
	}
}

func containsAll(text string, wants []string) bool {
	return !slices.ContainsFunc(wants, func(w string) bool { return !strings.Contains(text, w) })
}

// exampleClient is a program in examples/clients.
type exampleClient struct {
	name, label string
	args        []string // the program, by its path in the repository; the URL is put behind the first two
	caVariable  string
	code        string // of a malformed request, as its library writes it
}

func exampleClients() []exampleClient {
	client := func(protocol string) exampleClient {
		return exampleClient{"Python " + protocol, "python", []string{".tools/python/bin/python", "examples/clients/python/client.py", protocol}, "CA_FILE", "INVALID_ARGUMENT"}
	}
	return []exampleClient{
		{"TypeScript gRPC-Web", "node", []string{"node", "examples/clients/node/dist/client.js"}, "NODE_EXTRA_CA_CERTS", "InvalidArgument"},
		client("connect"), client("grpc"), client("grpc_web"),
	}
}

// test runs the program against a member, and looks at another for what it did.
func (e exampleClient) test(t *testing.T, url string, c *cluster, sec *secrets) {
	if _, err := os.Stat(filepath.Join("..", e.args[1])); err != nil {
		t.Fatalf("%v: 'make deps/clients' makes what the tests of clients need", err)
	}
	env := []string{"PYTHONPATH=gen/python", "PYTHONDONTWRITEBYTECODE=1"}
	if sec != nil {
		env = append(env, "TOKEN_FILE="+sec.tokenFile, e.caVariable+"="+sec.certFile)
	}
	out, code := runForeign(t, env, e.args[0], slices.Concat(e.args[1:2], []string{url}, e.args[2:])...)
	wants := []string{"is COMPLETED", "output: hello from", "is CANCELLED", "newest: endless, greeting", "refused: " + e.code, "field task.exec.command: is empty"}
	if code != 0 || !containsAll(out, wants) {
		t.Fatalf("exit %d, want 0 and each of %q in\n%s", code, wants, out)
	}
	leader, _ := c.leader()
	var a struct {
		Tasks []struct{ Name, Status string }
	}
	c.call(leader, "TaskService/ListTasks", m{"labels": m{"example": e.label}, "pageSize": 2}, &a)
	if len(a.Tasks) != 2 || a.Tasks[0].Status != "TASK_STATUS_CANCELLED" || a.Tasks[1].Status != completed {
		t.Errorf("the leader has %+v", a.Tasks)
	}
}
