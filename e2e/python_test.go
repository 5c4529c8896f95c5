package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestASweepInPythonThroughALoss kills the leader, which is also the member that the
// program in Python and its worker talk to, in the middle of a sweep: each call has its
// result, and none was completed twice.
func TestASweepInPythonThroughALoss(t *testing.T) {
	t.Run("plaintext", func(t *testing.T) { sweepThroughALoss(t, newCluster(t, 3), nil) })
	t.Run("TLS and a token", func(t *testing.T) {
		c, sec := newSecureCluster(t, 3)
		sweepThroughALoss(t, c, []string{"RAFT_NODE_TOKEN_FILE=" + sec.tokenFile, "CA_FILE=" + sec.certFile})
	})
}

func sweepThroughALoss(t *testing.T, c *cluster, env []string) {
	const calls = 400
	leader, followers := c.leader()
	var urls []string
	for _, name := range append([]string{leader}, followers...) { // the first is the one in use
		urls = append(urls, c.scheme+"://"+c.addresses[name])
	}
	held := filepath.Join(t.TempDir(), "go")
	p := newProcess(t, "sweep", interopProgram, "sweep", strconv.Itoa(calls))
	p.binary = sdkPython(t)
	p.startWith(slices.Concat(cleanEnv(), []string{"RAFT_NODE_SERVER=" + strings.Join(urls, ","), "PYTHONDONTWRITEBYTECODE=1", "PYTHONFAULTHANDLER=1", "GO=" + held}, env))
	until(t, "half of the sweep is done and the rest waits", func() bool {
		select {
		case <-p.done: // too early: how, is said below
			return true
		default:
		}
		return c.query(followers[0], "SELECT count(*) FROM tasks WHERE status = 'COMPLETED'")[0][0] == strconv.Itoa(calls/2)
	})
	c.members[leader].kill()
	if err := os.WriteFile(held, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code < 0 {
		// Seen three times in some seventy runs, with TLS only: abort, and then faulthandler finds no
		// list of threads any more. So the interpreter was ending, and the results were in, as is
		// looked at below. Before Python 3.14 a thread that asks for an interpreter which is ending is
		// made to exit; those of the HTTP library are Rust, through which that cannot go: see
		// PyO3/pyo3-async-runtimes issue 40. The SDK's watcher is not the cause: it begins with the
		// first process of a function, and these functions need none.
		t.Logf("the interpreter died while it ended: %s\n%s", p.cmd.ProcessState, tail(p.output(), 4000))
	} else if code != 0 {
		t.Fatalf("the sweep ended with %s", p.cmd.ProcessState)
	}
	rows := c.query(c.any(), "SELECT count(*), sum(status = 'COMPLETED'), (SELECT count(*) FROM events WHERE type = 'TASK_COMPLETED'), sum(attempt) FROM tasks")
	if got := strings.Join(rows[0][:3], " "); got != "400 400 400" {
		t.Errorf("tasks, completed, completions: %s", got)
	}
	t.Logf("%s attempts for %d calls", rows[0][3], calls)
	c.members[leader].start()
}
