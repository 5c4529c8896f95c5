package e2e

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// reader is a program that runs a statement on a database file, read-only, and prints
// the rows.
type reader struct {
	name string
	args func(file, sql string) []string
}

const pythonReader = `import sqlite3, sys
db = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True)
for row in db.execute(sys.argv[2]):
    print("|".join("" if v is None else str(v) for v in row))
`

// readers are Python's SQLite, which is wherever the tests run, and SQLite's own shell
// where it is installed.
func readers(t *testing.T) []reader {
	t.Helper()
	all := []reader{{"python3", func(file, sql string) []string { return []string{"-c", pythonReader, file, sql} }}}
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Logf("not with sqlite3, which is not installed: apt-get install sqlite3")
		return all
	}
	return append(all, reader{"sqlite3", func(file, sql string) []string { return []string{"-readonly", file, sql} }})
}

func (r reader) run(t *testing.T, file, sql string) string {
	t.Helper()
	out, err := exec.Command(r.name, r.args(file, sql)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", r.name, sql, err, out)
	}
	return strings.TrimSpace(string(out))
}

// stateFile is the database of a member.
func (c *cluster) stateFile(member string) string {
	c.t.Helper()
	args := c.members[member].args
	for i, a := range args {
		if a == "--data-dir" {
			current, err := os.ReadFile(filepath.Join(args[i+1], "CURRENT"))
			if err != nil {
				c.t.Fatal(err)
			}
			return filepath.Join(args[i+1], strings.TrimSpace(string(current)), "state.db")
		}
	}
	c.t.Fatal("no --data-dir")
	return ""
}

// TestSQLiteOpensTheFile reads a member's state without the member: while it runs,
// after it was killed, and after it has stopped.
func TestSQLiteOpensTheFile(t *testing.T) {
	c := newCluster(t, 1)
	member := c.members[c.names[0]]
	c.submit("a", "true")
	c.submit("b", "true")
	file := c.stateFile(c.names[0])
	for _, r := range readers(t) {
		read := func(when, want string) {
			t.Helper()
			if got := r.run(t, file, "SELECT id, status FROM tasks ORDER BY seq"); got != want {
				t.Errorf("%s, %s: %q, want %q", r.name, when, got, want)
			}
			for sql, want := range map[string]string{
				"SELECT queue, status FROM v_queue_depth": "default|PENDING", "SELECT count(*) FROM v_recent_failures": "0", "SELECT type FROM events LIMIT 1": "TASK_SUBMITTED",
				"SELECT count(*) FROM v_node_load": "0", "SELECT name FROM queues": "default", "SELECT count(*) FROM attempts": "0",
			} {
				if got := r.run(t, file, sql); got != want {
					t.Errorf("%s, %s: %s is %q, want %q", r.name, when, sql, got, want)
				}
			}
		}
		read("while it runs", "a|PENDING\nb|PENDING")
		out, err := exec.Command(r.name, r.args(file, "DELETE FROM tasks")...).CombinedOutput()
		if err == nil || !strings.Contains(strings.ToLower(string(out)), "readonly") {
			t.Errorf("%s deletes: %v, %s", r.name, err, out)
		}

		member.kill()
		read("after it was killed", "a|PENDING\nb|PENDING")
		member.start()
		c.ready()

		member.signal(syscall.SIGTERM)
		if code := member.wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		before := digest(t, file)
		read("after it has stopped", "a|PENDING\nb|PENDING")
		if got := r.run(t, file, "PRAGMA integrity_check"); got != "ok" {
			t.Errorf("%s: %s", r.name, got)
		}
		if digest(t, file) != before {
			t.Errorf("%s has changed the file", r.name)
		}
		member.start()
		c.ready()
	}
	c.submit("c", "true")
	if got := c.query(c.names[0], "SELECT count(*) FROM tasks"); got[0][0] != "3" {
		t.Errorf("afterwards: %v", got)
	}
}

func digest(t *testing.T, file string) [sha256.Size]byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(text)
}
