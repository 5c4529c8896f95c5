package crashtest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/internal/testport"
)

// stoppable is a member in a process of its own that can be stopped, and that
// answers a linearizable read for each line of its input.
type stoppable struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.Writer
	lines chan string
}

// startStoppable starts one, with the time after which it is missed.
func startStoppable(t *testing.T, j job) *stoppable {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	s := &stoppable{t: t, cmd: exec.Command(os.Args[0]), lines: make(chan string, 10_000)}
	s.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	s.cmd.Stderr = io.Discard
	in, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.in = in
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for in := scan(out); in.Scan(); {
			s.lines <- in.Text()
		}
		_ = s.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-done
	})
	return s
}

func (s *stoppable) say(line string) {
	s.t.Helper()
	if _, err := fmt.Fprintln(s.in, line); err != nil {
		s.t.Fatal(err)
	}
}

// next is the member's next answer.
func (s *stoppable) next() string {
	s.t.Helper()
	select {
	case line := <-s.lines:
		return line
	case <-time.After(patience):
		s.t.Fatal("a member does not answer")
		return ""
	}
}

func (s *stoppable) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// answer serves the input: "lead" is answered once this member leads and has
// written the given value, "read" with the value that a linearizable read shows.
func (m *member) answer(in io.Reader, out io.Writer) error {
	var written atomic.Int64
	lines := scan(in)
	for lines.Scan() {
		var word string
		var n int64
		_, _ = fmt.Sscan(lines.Text(), &word, &n)
		switch word {
		case "write":
			written.Store(n)
			go func() {
				if m.write(n, &written) {
					fmt.Fprintln(out, "wrote", n)
				}
			}()
		case "read":
			go func() { // many wait at once when the member goes on
				n, err := m.read()
				if err != nil {
					fmt.Fprintln(out, "refused")
					return
				}
				fmt.Fprintln(out, "read", n)
			}()
		}
	}
	return lines.Err()
}

// write stores task n as soon as this member leads, unless another value is wanted.
func (m *member) write(n int64, wanted *atomic.Int64) bool {
	for wanted.Load() == n {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := m.tasks.AwaitWritable(ctx)
		if err == nil && wanted.Load() == n {
			err = m.add(ctx, fmt.Sprintf("v%d", n))
		}
		cancel()
		if err == nil {
			return true
		}
	}
	return false
}

// read is how many tasks there are, by a linearizable read.
func (m *member) read() (n int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err = m.engine.Read(ctx, db.ReadOptions{Level: db.Linearizable}, func(c db.Conn) error {
		r, err := c.Query("SELECT coalesce(max(CAST(substr(id, 2) AS INTEGER)), 0) FROM tasks")
		if err != nil {
			return err
		}
		if r.Next() {
			n = r.Int(0)
		}
		return r.Close()
	})
	return n, err
}

// TestAStoppedLeaderServesNothingOld stops the leader until the others have elected
// one and it has acknowledged a write, and has reads waiting in the stopped one for
// when it goes on. RAFT_NODE_STOP_ROUNDS makes it longer.
func TestAStoppedLeaderServesNothingOld(t *testing.T) {
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("RAFT_NODE_STOP_ROUNDS"), "10"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for range 3 {
		address, err := testport.Free()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, address)
	}
	members := make([]*stoppable, 3)
	for i := range members {
		members[i] = startStoppable(t, job{Dir: filepath.Join(t.TempDir(), "data"), Name: fmt.Sprintf("m%d", i+1), Advertise: all[i],
			Join: all, Expect: 3, Heartbeat: 150 * time.Millisecond, Answer: true})
		if got := members[i].next(); got != "open" {
			t.Fatalf("a member says %q", got)
		}
	}
	r := &stops{t: t, members: members}
	leader := r.elect(1, nil)
	fresh, refused := 0, 0
	for round := range int64(rounds) {
		old := members[leader]
		old.signal(syscall.SIGSTOP)
		leader = r.elect(round+2, old)
		const reads = 20
		for range reads {
			old.say("read")
		}
		old.signal(syscall.SIGCONT)
		for got := 0; got < reads; {
			var word string
			var n int64
			_, _ = fmt.Sscan(old.next(), &word, &n)
			switch {
			case word == "refused":
				refused++
			case word == "read" && n < round+2:
				t.Fatalf("round %d: the member that was stopped answers a linearizable read with %d; %d was acknowledged before", round, n, round+2)
			case word == "read":
				fresh++
			default: // its own late write
				continue
			}
			got++
		}
	}
	t.Logf("%d rounds of SIGSTOP past an election: %d reads show the new state, %d are refused, none is old", rounds, fresh, refused)
	if fresh == 0 {
		t.Error("no read was answered at all")
	}
}

// stops is the members of such a test.
type stops struct {
	t       *testing.T
	members []*stoppable
}

// elect has whoever leads store a value, and returns who that is.
func (r *stops) elect(n int64, stopped *stoppable) int {
	r.t.Helper()
	for _, m := range r.members {
		if m != stopped {
			m.say(fmt.Sprint("write ", n))
		}
	}
	deadline := time.After(patience)
	want := fmt.Sprint("wrote ", n)
	for {
		for i, m := range r.members {
			if m == stopped {
				continue
			}
			select {
			case line := <-m.lines:
				if line == want {
					return i
				}
			case <-deadline:
				r.t.Fatalf("nobody stores %d", n)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
}
