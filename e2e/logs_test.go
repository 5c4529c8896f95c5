package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// gate is a FIFO whose reader is a task: what the test writes, the task prints.
type gate struct {
	path string
	f    *os.File
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{path: filepath.Join(t.TempDir(), "gate")}
	if err := syscall.Mkfifo(g.path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(g.path, os.O_RDWR, 0) // opens at once, and keeps it open
	if err != nil {
		t.Fatal(err)
	}
	g.f = f
	t.Cleanup(func() { f.Close() })
	return g
}

func (g *gate) print(t *testing.T, text string) {
	t.Helper()
	if _, err := g.f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// copies is a command that prints lines of a gate up to "end".
func (g *gate) copies() []string {
	return []string{"sh", "-c", `while read -r line; do [ "$line" = end ] && break; echo "$line"; done < ` + g.path}
}

// follower is a "raft-node logs -f" under way, with its outputs apart.
type follower struct {
	*process
	out string
}

func (c *cluster) follow(name, servers string, args ...string) *follower {
	c.t.Helper()
	f := &follower{process: newProcess(c.t, name), out: filepath.Join(c.t.TempDir(), name+".out")}
	command := append([]string{raftNode, "logs", "-f", "--server", servers}, args...)
	f.binary, f.args = "sh", append([]string{"-c", `out=$1; shift; exec "$@" > "$out"`, "sh", f.out}, command...)
	f.start()
	return f
}

func (f *follower) printed() string {
	text, _ := os.ReadFile(f.out)
	return string(text)
}

func (c *cluster) url(member string) string { return c.scheme + "://" + c.addresses[member] }

// TestLogsOfARunningProcess reads what a process prints through each of three members
// while it runs, across the loss of the leader: each byte once, in order.
func TestLogsOfARunningProcess(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	logs := filepath.Join(t.TempDir(), "logs")
	c.addAgent("n1", 2, "--log-dir", logs)
	g := newGate(t)
	leader, followers := c.leader()
	waits := c.follow("first", c.url(followers[0]), "job") // before there is such a task
	if code := waits.wait(); code != 1 || !strings.Contains(waits.output(), "there is no task job") {
		t.Errorf("logs of no task: exit %d\n%s", code, waits.output())
	}
	c.submit("job", g.copies()...)
	g.print(t, "one\n")
	readers := []*follower{
		c.follow("r1", c.url(followers[0]), "job"), c.follow("r2", c.url(followers[1]), "job", "--attempt", "1"),
		c.follow("r3", c.url(leader)+","+c.url(followers[0]), "job"),
	}
	want := "one\n"
	all := func(what string) {
		t.Helper()
		for _, r := range readers {
			until(t, r.name+" shows "+what, func() bool { return len(r.printed()) >= len(want) })
			if got := r.printed(); got != want {
				t.Fatalf("%s, %s shows\n%q, want\n%q\n%s", what, r.name, got, want, r.output())
			}
		}
	}
	all("the first line")
	c.members[leader].kill()
	for i := range 500 {
		line := fmt.Sprintf("line %d of those after the leader was killed, grüße\n", i)
		want += line
		g.print(t, line)
	}
	all("what came after the leader was killed")
	c.members[leader].start()
	late := c.follow("late", c.url(leader), "job", "--tail", "2")
	g.print(t, "last\nend\n")
	want += "last\n"
	for _, r := range append(slices.Clone(readers), late) {
		if code := r.wait(); code != 0 {
			t.Errorf("%s ends with %d\n%s", r.name, code, r.output())
		}
	}
	all("the end")
	if got := late.printed(); !strings.HasSuffix(want, got) || strings.Count(got, "\n") < 2 || strings.Count(got, "\n") > 3 {
		t.Errorf("the last two lines and what followed: %q", got)
	}
	c.ready()
	if got := c.do("task", "logs", "job"); got != want {
		t.Errorf("afterwards the log is %q", got)
	}
	file := filepath.Join(logs, "job.1.log")
	text, err := os.ReadFile(file)
	info, bad := os.Stat(file)
	if err != nil || bad != nil || string(text) != want || info.Mode().Perm() != 0o600 {
		t.Errorf("the full log: %v, %v, %d bytes", err, info, len(text))
	}
}

// TestLogOfALostAttempt stops an agent beyond its lease, and continues it while the task
// runs elsewhere: it does not write into the new attempt's log.
func TestLogOfALostAttempt(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	first := c.addAgent("n1", 1)
	g := newGate(t)
	script := `echo attempt $TASK_ATTEMPT begins; if [ $TASK_ATTEMPT = 1 ]; then trap 'echo late; echo late >&2' TERM; while :; do echo noise; sleep 0.05; done; fi; ` + strings.Join(g.copies()[2:], "")
	c.submit("job", "sh", "-c", script)
	until(t, "the first attempt has printed", func() bool {
		out, _, _ := c.command("logs", "job")
		return strings.Contains(out, "noise\n")
	})
	reader := c.follow("reader", c.servers(), "job")
	first.signal(syscall.SIGSTOP)
	c.addAgent("n2", 1)
	until(t, "the second attempt prints", func() bool { return strings.Contains(reader.printed(), "attempt 2 begins\n") })
	first.signal(syscall.SIGCONT)
	until(t, "the first agent has been told", func() bool {
		return strings.Contains(first.output(), "no longer this node's") || strings.Contains(first.output(), "report refused and dropped")
	})
	g.print(t, "still here\nend\n")
	if code := reader.wait(); code != 0 {
		t.Errorf("the reader ended with %d\n%s", code, reader.output())
	}
	_, second, _ := strings.Cut(reader.printed(), "attempt 2 begins\n")
	if second != "still here\n" {
		t.Errorf("the log of attempt 2 goes on with %q", second)
	}
	if !strings.Contains(reader.output(), "attempt 2, on node n2") {
		t.Errorf("the reader was not told of the second attempt:\n%s", reader.output())
	}
	if out := c.do("logs", "job", "--attempt", "2"); out != "attempt 2 begins\nstill here\n" {
		t.Errorf("attempt 2 has the log %q", out)
	}
	if end := c.ends("job"); end.Status != completed || end.LostCount != 1 {
		t.Errorf("%+v", end)
	}
}
