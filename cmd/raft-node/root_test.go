package main

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// named is a member whose cluster has a name, to tell which one was asked.
func named(t *testing.T, id string) *member {
	m := &member{cluster: func(*v1.GetClusterRequest) (*v1.GetClusterResponse, error) {
		return &v1.GetClusterResponse{ClusterId: id}, nil
	}}
	return m.start(t)
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagBeforeEnvironmentBeforeFile(t *testing.T) {
	flag, env, file := named(t, "by-flag"), named(t, "by-env"), named(t, "by-file")
	config := configFile(t, "server: ["+file.url+"]\noutput: json\n")
	t.Setenv("RAFT_NODE_CONFIG", config)
	cli(t, "cluster", "status").expect(t, 0, []string{`"clusterId": "by-file"`}, nil)
	t.Setenv("RAFT_NODE_SERVER", env.url)
	cli(t, "cluster", "status").expect(t, 0, []string{`"clusterId": "by-env"`}, nil)
	cli(t, "cluster", "status", "--server", flag.url, "-o", "table").expect(t, 0, []string{"Cluster:        by-flag"}, nil)
	t.Setenv("RAFT_NODE_CONFIG", "/does/not/exist")
	cli(t, "cluster", "status", "--config", config).expect(t, 0, []string{`"clusterId": "by-env"`}, nil)
	cli(t, "cluster", "status").expect(t, 2, nil, []string{"--config: open /does/not/exist"})
}

func TestSettingsAreChecked(t *testing.T) {
	for _, tc := range []struct{ file, want string }{
		{"sever: x", `config.yaml:1: unknown key "sever": known are`},
		{"output: table\nNAME: x\nqueue: q\n", `config.yaml:3: unknown key "queue"`},
		{"call-timeout: fast", `config.yaml:1: call-timeout: time: invalid duration "fast"`},
		{"output: [a, b]", "output: takes one value"},
		{"server: {a: {b: c}}", "server: is nested too deep"},
		{"output: json\noutput: table", "output is given twice"},
		{"- x", "give one setting per line"},
		{"a: b: c", "mapping values are not allowed"},
	} {
		cli(t, "cluster", "status", "--config", configFile(t, tc.file)).expect(t, 2, nil, []string{"raft-node: ", tc.want})
	}
	t.Setenv("RAFT_NODE_CALL_TIMEOUT", "soon")
	cli(t, "cluster", "status").expect(t, 2, nil, []string{"RAFT_NODE_CALL_TIMEOUT: time: invalid duration"})
	t.Setenv("RAFT_NODE_CALL_TIMEOUT", "-1s")
	cli(t, "cluster", "status").expect(t, 2, nil, []string{"--call-timeout -1s: give more than 0"})
}

func TestFileMayHoldSettingsOfOtherCommands(t *testing.T) {
	m := named(t, "c")
	config := configFile(t, "# all in one\nserver: "+m.url+"\ndata-dir: /var/lib/raft-node\nlabel: {Zone: A}\nname: n1\nslots: 4\nspot: true\ntoken-file:\n")
	cli(t, "cluster", "status", "--config", config).expect(t, 0, []string{"Cluster:        c"}, nil)
}

// settled is a daemon's command with its settings read and not run.
func settled(t *testing.T, name string, args ...string) *app {
	t.Helper()
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
	cmd, rest, err := newRoot(a).Find(append([]string{name}, args...))
	if err = errors.Join(err, cmd.ParseFlags(rest), a.configure(cmd)); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestDaemonsSeeWhatWasGiven(t *testing.T) {
	t.Setenv("RAFT_NODE_LISTEN", "127.0.0.1:7777")
	t.Setenv("RAFT_NODE_JOIN", "a:1,b:2")
	a := settled(t, "serve")
	if got := a.v.GetString("listen"); got != "127.0.0.1:7777" || !a.v.IsSet("listen") {
		t.Errorf("listen = %q, set = %v", got, a.v.IsSet("listen"))
	}
	if a.v.IsSet("name") {
		t.Error("name seems to be given")
	}
	if got := list(a.v, "join"); !slices.Equal(got, []string{"a:1", "b:2"}) {
		t.Errorf("join = %q", got)
	}
	a = settled(t, "agent", "--config", configFile(t, "label: {Zone: A, tier: b}\nslots: 3\n"))
	if got := list(a.v, "label"); !slices.Equal(got, []string{"Zone=A", "tier=b"}) || a.v.GetInt("slots") != 3 {
		t.Errorf("label = %q, slots = %d", got, a.v.GetInt("slots"))
	}
}

func TestSettingsReachTheDaemons(t *testing.T) {
	t.Setenv("RAFT_NODE_SPOT", "true")
	config := configFile(t, "label: {Zone: A, tier: b}\nname: 'no spaces allowed'\nslots: 20000\n")
	r := cli(t, "agent", "--config", config, "--server", "ftp://x")
	r.expect(t, 2, nil, []string{`--name "no spaces allowed"`, "--slots 20000", "the scheme must be http or https"})
	t.Setenv("RAFT_NODE_SPOT", "perhaps")
	cli(t, "agent").expect(t, 2, nil, []string{"RAFT_NODE_SPOT: ", "perhaps"})
}

func TestRequestsAreNotNamedByTheEnvironment(t *testing.T) {
	t.Setenv("RAFT_NODE_NAME", "worker-1")
	t.Setenv("RAFT_NODE_ID", "same")
	var got *v1.Task
	m := (&member{submit: func(r *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
		got = r.GetTask()
		return &v1.SubmitTaskResponse{Task: &v1.Task{Id: "t"}}, nil
	}}).start(t)
	m.at(t, "submit", "true").expect(t, 0, []string{"t\n"}, nil)
	if got.GetName() != "" || got.GetId() == "same" { // the client gives it an id of its own
		t.Errorf("task = %v, which took its name or id from the environment", got)
	}
}

func TestTokenAndServers(t *testing.T) {
	m := named(t, "c")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("s3cret-s3cret-s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.at(t, "cluster", "status", "--token-file", file).expect(t, 0, nil, nil)
	if m.lastToken() != "s3cret-s3cret-s3cret" {
		t.Errorf("token = %q", m.lastToken())
	}
	// Without a scheme, and after one that does not answer.
	cli(t, "cluster", "status", "--server", "127.0.0.1:1,"+strings.TrimPrefix(m.url, "http://")).expect(t, 0, []string{"c"}, nil)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.at(t, "cluster", "status", "--token-file", file).expect(t, 1, nil, []string{"--token-file " + file + ": is empty"})
	m.at(t, "cluster", "status", "--tls-ca", file).expect(t, 1, nil, []string{"holds no certificate"})
}

func TestUsageErrorsExitWith2(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"nonsense", `unknown command "nonsense"`},
		{"task", "'raft-node task' needs a subcommand: cancel, explain, get, list, logs, retry, schema, wait, watch"},
		{"task gte x", `has no subcommand "gte": did you mean get?`},
		{"task get", "accepts 1 arg(s), received 0"},
		{"task list --limit many", "invalid argument"},
		{"task list --limit -1", "--limit -1: give 0 for all"},
		{"task list --status lost", `--status "lost": give pending, assigned, running, completed, failed, cancelled`},
		{"task list --label x", "--label: \"x\": give it as key=value"},
		{"node list --wrong", "unknown flag: --wrong"},
		{"cluster status -o xml", "give table, wide, json, jsonl, yaml, name"},
		{"sql --consistency now x", "give linearizable, stale"},
		{"sql -", "the statement is empty"},
		{"help nonsense", `'raft-node' has no subcommand "nonsense": did you mean agent, `},
		{"help task gte", `'raft-node task' has no subcommand "gte": did you mean get?`},
		{"logs t1 --tail -5", "--tail -5: give 0 or more"},
		{"node drain n1 --deadline -1s", "--deadline -1s: give 0s to 720h"},
		{"node drain n1 --deadline 721h", "--deadline 721h0m0s: give 0s to 720h"},
		{"agent --slots 0", "--slots 0: give 1 to 10000, or leave it out for the number of cores"},
		{"version --server x", "--server has no meaning for 'raft-node version'"},
		{"serve -o json --name ///", "--output has no meaning for 'raft-node serve'"},
	} {
		r := cli(t, strings.Fields(tc.line)...)
		r.expect(t, 2, nil, []string{"raft-node: ", tc.want, "See 'raft-node"})
		if r.out != "" {
			t.Errorf("%s: output = %q", tc.line, r.out)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	began := time.Now()
	cli(t, "--server", "127.0.0.1:1", "cluster", "status").expect(t, 1, nil, []string{
		"raft-node: no member answers at http://127.0.0.1:1: is it running? start one with 'raft-node serve' or give --server (dial tcp 127.0.0.1:1: connect: connection refused)\n"})
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("a person had to wait %v to hear that nothing listens", d)
	}
	for code, want := range map[connect.Code]string{
		connect.CodeUnauthenticated:  "raft-node: as it is: give --token-file with the members' secret\n",
		connect.CodeDeadlineExceeded: "raft-node: as it is\n", // a limit of the member's own
		connect.CodeUnimplemented:    "is no control plane",
		connect.CodeInternal:         "raft-node: as it is\n",
	} {
		m := (&member{cluster: func(*v1.GetClusterRequest) (*v1.GetClusterResponse, error) {
			return nil, refusal(code, "as it is")
		}}).start(t)
		m.at(t, "cluster", "status").expect(t, 1, nil, []string{want})
	}
}

func TestCertificatesThatAreRefused(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	own := writeFile(t, "own.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	another, _, _ := certificate(t)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	plain := httptest.NewUnstartedServer(http.NotFoundHandler())
	plain.Config.ErrorLog = srv.Config.ErrorLog
	plain.Start()
	defer plain.Close()
	for _, tc := range []struct {
		url, ca string
		want    string
	}{
		{srv.URL, "", "certificate signed by unknown authority: give --tls-ca with the authority that signed the member's certificate\n"},
		{srv.URL, another, "certificate signed by unknown authority: --tls-ca " + another + " does not hold the authority that signed the member's certificate\n"},
		{"https://localhost:" + port, own, "the member's certificate is for example.com, *.example.com, 127.0.0.1, ::1, and localhost was called: give one of those in --server, or the member a certificate that names localhost too\n"},
		{strings.Replace(plain.URL, "http:", "https:", 1), own, "; it serves no TLS: write http:// in --server)\n"},
	} {
		for _, line := range []string{"cluster status", "task get t1"} { // one over HTTP/2, one by a lane
			args := append([]string{"--server", tc.url, "--call-timeout", "300ms"}, strings.Fields(line)...)
			if tc.ca != "" {
				args = append(args, "--tls-ca", tc.ca)
			}
			cli(t, args...).expect(t, 1, nil, []string{tc.want})
		}
	}
}

func TestVersionIsAFlagToo(t *testing.T) {
	if flag, command := cli(t, "--version"), cli(t, "version"); flag.code != 0 || flag.out != command.out || !strings.HasPrefix(flag.out, "raft-node ") {
		t.Errorf("--version: %d, %q; version: %q", flag.code, flag.out, command.out)
	}
}

func TestHelpHidesWhatACommandIgnores(t *testing.T) {
	if r := cli(t, "serve", "--help"); r.code != 0 || strings.Contains(r.out, "--call-timeout") || !strings.Contains(r.out, "--config") {
		t.Errorf("serve --help:\n%s", r.out)
	}
	if r := cli(t, "task", "list", "--help"); !strings.Contains(r.out, "--call-timeout") {
		t.Errorf("task list --help:\n%s", r.out)
	}
}

func TestCompletion(t *testing.T) {
	t.Setenv("RAFT_NODE_CONFIG", "/does/not/exist")
	cli(t, "__complete", "task", "list", "--status", "").expect(t, 0, []string{"pending\n", "cancelled\n"}, nil)
	cli(t, "__complete", "node", "list", "--status", "").expect(t, 0, []string{"unhealthy\n"}, nil)
	cli(t, "__complete", "cluster", "status", "-o", "").expect(t, 0, []string{"table\nwide\njson\njsonl\nyaml\nname\n"}, nil)
	cli(t, "completion", "bash").expect(t, 0, []string{"bash completion"}, nil)
}

func TestCompletionOfWhatThereIs(t *testing.T) {
	m := exampleMember(t)
	for line, want := range map[string]string{
		"task get ":           "t2\tFAILED RUNNING\nt1\tFAILED\n",
		"task get t1 ":        "",
		"task cancel ":        "t2\tFAILED RUNNING\n",
		"task retry ":         "t1\tFAILED\n",
		"task wait t1 ":       "t2\tFAILED RUNNING\n",
		"node drain ":         "n1\tHEALTHY\n",
		"node get x":          "",
		"node remove ":        "gone\tUNHEALTHY\n",
		"node remove gone ":   "",
		"queue pause tr":      "train\t5 wait, 2 run\n",
		"queue create ":       "",
		"cluster remove ":     "a\tLEADER 10.0.0.1:8080\n",
		"task list --queue o": "other\t0 wait, 0 run\n",
		"submit --node ":      "n1\tHEALTHY\n",
	} {
		words := strings.Split(line, " ")
		r := cli(t, append([]string{"__complete", "--server", m.url}, words...)...)
		if got, _, _ := strings.Cut("\n"+r.out, "\n:"); strings.TrimPrefix(got+"\n", "\n") != want {
			t.Errorf("%q completes\n%swant\n%s", line, r.out, want)
		}
	}
	cli(t, "__complete", "--server", "127.0.0.1:1", "task", "get", "").expect(t, 0, []string{":"}, nil)
}

func TestExitCodesAreToldInOnePlace(t *testing.T) {
	cli(t, "help", "exit-codes").expect(t, 0, []string{"124  'task wait --timeout'", "130  Ctrl-C"}, nil)
	cli(t, "exit-codes").expect(t, 0, []string{"130  Ctrl-C"}, nil)
}

func TestVersion(t *testing.T) {
	cli(t, "version").expect(t, 0, []string{"raft-node " + version + " (go"}, nil)
	cli(t, "version", "-o", "json").expect(t, 0, []string{`"version": "` + version + `"`}, nil)
}
