package main

import (
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// contextHome is a home directory with one context that holds a token.
func contextHome(t *testing.T, m *member) (path string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	r := cliWith(t.Context(), "kept-kept-kept-kept\n", "context", "add", "c", "--server", m.url, "--queue", "gpu", "--token-stdin")
	r.expect(t, 0, nil, nil)
	return filepath.Join(home, "raft-node", "contexts.yaml")
}

func TestContextsAreTheirOwnersAlone(t *testing.T) {
	m := named(t, "by-context")
	path := contextHome(t, m)
	for place, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(place); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, error %v, want %v", place, info.Mode(), err, want)
		}
	}
	cli(t, "cluster", "status").expect(t, 0, []string{"by-context"}, nil)
	if m.lastToken() != "kept-kept-kept-kept" {
		t.Errorf("token %q was sent", m.lastToken())
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	cli(t, "cluster", "status").expect(t, 2, nil, []string{"can be read or changed by others (mode 0640): run chmod 600", "it holds a token"})
	if err := os.WriteFile(path, []byte("current: c\ncontexts:\n  c:\n    server: ["+m.url+"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cli(t, "cluster", "status").expect(t, 0, []string{"by-context"}, []string{"run chmod 600"})
}

func TestContextsComeLast(t *testing.T) {
	m, other := named(t, "by-context"), named(t, "other")
	contextHome(t, m)
	t.Setenv("RAFT_NODE_SERVER", other.url)
	cli(t, "cluster", "status").expect(t, 0, []string{"other"}, nil)
	if other.lastToken() != "" {
		t.Errorf("the context's token was sent to another server")
	}
	cli(t, "cluster", "status", "--context", "c", "--server", m.url).expect(t, 0, []string{"by-context"}, nil)
	if m.lastToken() != "kept-kept-kept-kept" {
		t.Errorf("token %q was sent", m.lastToken())
	}
	t.Setenv("RAFT_NODE_SERVER", "")
	cli(t, "cluster", "status", "--config", configFile(t, "server: "+other.url)).expect(t, 0, []string{"other"}, nil)
	t.Setenv("RAFT_NODE_CONTEXT", "none")
	cli(t, "cluster", "status").expect(t, 2, nil, []string{`there is no context "none": known are c`})
}

func TestDaemonsTakeAContextOnlyIfItIsNamed(t *testing.T) {
	m := named(t, "c")
	contextHome(t, m)
	if got := list(settled(t, "agent").v, "server"); got[0] != defaultServer {
		t.Errorf("the agent asks %v", got)
	}
	if got := list(settled(t, "agent", "--context", "c").v, "server"); got[0] != m.url {
		t.Errorf("the agent asks %v", got)
	}
	cli(t, "serve", "--context", "c").expect(t, 2, nil, []string{"--context has no meaning for 'raft-node serve'"})
}

func TestTheContextsQueueIsForTasksWithoutOne(t *testing.T) {
	var got []string
	m := (&member{submit: func(r *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
		got = append(got, r.GetTask().GetQueue())
		return &v1.SubmitTaskResponse{Task: &v1.Task{Id: "t"}}, nil
	}}).start(t)
	contextHome(t, m)
	cli(t, "submit", "true").expect(t, 0, nil, nil)
	cli(t, "submit", "--queue", "mine", "true").expect(t, 0, nil, nil)
	if len(got) != 2 || got[0] != "gpu" || got[1] != "mine" {
		t.Errorf("queues %v", got)
	}
}

func TestContextFilesAreRead(t *testing.T) {
	m := named(t, "c")
	path := contextHome(t, m)
	for text, want := range map[string]string{
		"current: c\ncontexts:\n  c: {sever: [a]}\n": "line 3: field sever not found",
		"contexts:\n  c: {}\n":                       "context c has no server",
		"x":                                          path,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cli(t, "cluster", "status").expect(t, 2, nil, []string{"raft-node: " + path, want})
	}
}
