package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The clients of rqlite that people use, each as it is, read the state of three members
// through one that does not lead.

// rqliteCluster has two tasks that wait, and returns a follower's address.
func rqliteCluster(t *testing.T) (c *cluster, follower string) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	c = prepare(t, 3, "--token-file", token)
	c.token = "fe0c2dd9a3f54be8b1d5a4cf4ad6a1ce"
	if err := os.WriteFile(token, []byte(c.token), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range c.names {
		c.members[name].start()
	}
	c.ready()
	c.submit("a", "true")
	c.submit("b", "true")
	_, followers := c.leader()
	return c, c.addresses[followers[0]]
}

// runClient runs a program from the root of the repository and returns what it prints.
func runClient(t *testing.T, input, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var errors bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr = "..", strings.NewReader(input), &errors
	cmd.Env = clientEnv(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errors.String())
	}
	return out
}

// clientEnv gives a program a home of its own. Tools are compiled without cgo, as the
// Makefile compiles them, also when the test is not.
func clientEnv(t *testing.T) []string {
	return append(cleanEnv(), "HOME="+t.TempDir(), "GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOPATH="+goEnv(t, "GOPATH"), "CGO_ENABLED=0")
}

// goEnv is a setting of Go that would follow HOME.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestRqliteShell(t *testing.T) {
	c, follower := rqliteCluster(t)
	host, port, _ := net.SplitHostPort(follower)
	input := strings.Join([]string{
		"SELECT id, status FROM tasks ORDER BY id", ".consistency strong", "SELECT count(*) || ' tasks' FROM tasks", ".tables", ".schema", ".indexes", ".ready", ".nodes",
		".status", ".extensions", ".blobarray on", ".timer on", "SELECT x'0aff' AS b", "DELETE FROM tasks", "SELECT nix FROM tasks", ".backup " + filepath.Join(t.TempDir(), "x"), ".quit",
	}, "\n") + "\n"
	out := string(runClient(t, input, "go", "tool", "-modfile=tools/rqlite/go.mod", "rqlite", "-H", host, "-p", port, "-u", "anyone:"+c.token))
	for _, want := range []string{
		"running version raft-node ", "| id | status  |", "| a  | PENDING |", "| b  | PENDING |", "2 tasks", "| tasks ", "| nodes ", "CREATE VIEW events", "CREATE INDEX tasks_pending", "ready\n",
		"api_addr: http://" + follower, "node_id: m", "Run Time: ", "only statements that read are allowed", "no such column: nix", "403 Forbidden",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the shell does not print %q", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
	if got := c.query(c.any(), "SELECT count(*) FROM tasks"); got[0][0] != "2" {
		t.Errorf("afterwards: %v", got)
	}
}

func TestRqliteGoClient(t *testing.T) {
	c, follower := rqliteCluster(t)
	out := runClient(t, "", "go", "run", "-C", "tools/rqlite", "./gorqlite", "http://anyone:"+c.token+"@"+follower+"/?level=strong")
	var got struct {
		Leader        string
		Peers         []string
		Rows          []map[string]any
		Types         []string
		Request       [][]any
		Write, Failed string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	leader, _ := c.leader()
	if got.Leader != c.addresses[leader] || len(got.Peers) != 3 {
		t.Errorf("leader %s (is %s), peers %v", got.Leader, c.addresses[leader], got.Peers)
	}
	if rows := fmt.Sprint(got.Rows); rows != "[map[id:a name:<nil> priority:0 status:PENDING timed:1] map[id:b name:<nil> priority:0 status:PENDING timed:1]]" {
		t.Errorf("rows %s", rows)
	}
	if fmt.Sprint(got.Types) != "[text text integer  integer]" || fmt.Sprint(got.Request) != "[[2] [x-7]]" {
		t.Errorf("types %q, request %v", got.Types, got.Request)
	}
	if !strings.Contains(got.Write, "can be read only") || !strings.Contains(got.Failed, "no such column: nix") {
		t.Errorf("a write: %s\na bad statement: %s", got.Write, got.Failed)
	}
}

func TestRqlitePythonClient(t *testing.T) {
	c, follower := rqliteCluster(t)
	host, port, _ := net.SplitHostPort(follower)
	python := filepath.Join("..", ".tools", "python", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("%v: 'make deps/stubs' installs the Python packages that tests need", err)
	}
	python, err := filepath.Abs(python)
	if err != nil {
		t.Fatal(err)
	}
	out := runClient(t, "", python, "tools/python/rqlite_client.py", host, port, c.token)
	var got struct {
		Columns       []string
		Rows          []map[string]any
		Count         int
		Write, Failed string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if fmt.Sprint(got.Columns) != "[id status priority name]" || got.Count != 2 || !strings.Contains(got.Write, "403") || !strings.Contains(got.Failed, "no such column: nix") {
		t.Errorf("%+v", got)
	}
	if rows := fmt.Sprint(got.Rows); rows != "[map[id:a name:<nil> priority:0 status:PENDING] map[id:b name:<nil> priority:0 status:PENDING]]" {
		t.Errorf("rows %s", rows)
	}
}
