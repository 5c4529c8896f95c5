package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runExample runs a script of examples/nodes against a cluster.
func (c *cluster) runExample(script string, env ...string) string {
	c.t.Helper()
	out, err := c.example(script, env...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func (c *cluster) example(script string, env ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "sh", "../examples/nodes/"+script)
	cmd.Env = append(os.Environ(), "RAFT_NODE="+raftNode, "SERVER="+c.servers())
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// TestATaskSaysWhyItWaits runs examples/nodes/explain.sh: on a node without GPUs a
// task waits and says why; it runs when a node with one joins.
func TestATaskSaysWhyItWaits(t *testing.T) {
	c := newCluster(t, 1)
	c.addAgent("cpu-only", 2)
	out := c.runExample("explain.sh")
	for _, want := range []string{
		"waiting: the only node, cpu-only, does not take it now: it does not have the labels and lacks 1 GPU",
		"trained on GPU 0",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it says\n%s\nwithout %q", out, want)
		}
	}
}

// TestADrainLosesNothing runs examples/nodes/drain.sh: the node's tasks end, some of
// them elsewhere, and none has failed or was lost.
func TestADrainLosesNothing(t *testing.T) {
	c := newCluster(t, 3)
	c.addAgent("n1", 4)
	c.addAgent("n2", 8)
	out := c.runExample("drain.sh", "NODE=n1")
	if !strings.Contains(out, "the node is HEALTHY,DRAINED") || !strings.Contains(strings.Join(strings.Fields(out), " "), "COMPLETED 20 0 0") {
		t.Errorf("it says\n%s", out)
	}
	released := c.query(c.any(), `SELECT count(*) FROM attempts WHERE node_id = 'n1' AND status = 'RELEASED'`)
	if len(released) != 1 || released[0][0] == "0" {
		t.Errorf("no task was taken off the node: %v", released)
	}
	if bad := c.query(c.any(), `SELECT task_id, attempt, status FROM attempts WHERE status IN ('FAILED', 'LOST')`); len(bad) > 0 {
		t.Errorf("failed or lost: %v", bad)
	}
	if left := c.cordoned(); len(left) > 0 {
		t.Errorf("still cordoned: %v", left)
	}
}

func (c *cluster) cordoned() [][]string {
	c.t.Helper()
	return c.query(c.any(), `SELECT id FROM nodes WHERE NOT schedulable OR drain_time_ms IS NOT NULL`)
}

// TestADrainNeedsAnotherNode runs examples/nodes/drain.sh where there is none, which
// it says; then with one, and cuts it off: the node is not left drained.
func TestADrainNeedsAnotherNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.addAgent("n1", 1)
	out, err := c.example("drain.sh", "NODE=n1").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no node but n1 takes tasks") || !strings.Contains(string(out), "agent --server "+c.servers()) {
		t.Errorf("%v\n%s", err, out)
	}
	if rows := c.query("m1", `SELECT id FROM tasks`); len(rows) > 0 {
		t.Errorf("it has submitted %d tasks", len(rows))
	}
	c.addAgent("n2", 1)
	script := c.example("drain.sh", "NODE=n1", "DEADLINE=1h")
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the node is drained", func() bool { return len(c.cordoned()) == 1 })
	if err := syscall.Kill(-script.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := script.Wait(); err == nil || len(c.cordoned()) > 0 {
		t.Errorf("it ends with %v and leaves drained: %v", err, c.cordoned())
	}
}

// TestCheapestOfThreeClouds runs examples/nodes/cheapest.sh: five tasks fill the two
// slots of the cheapest cloud, then those of the next.
func TestCheapestOfThreeClouds(t *testing.T) {
	c := newCluster(t, 1)
	out := strings.Join(strings.Fields(c.runExample("cheapest.sh")), " ")
	if !strings.Contains(out, "lambda 1.29 2 gcp 2.48 2 aws 3.06 1") {
		t.Errorf("it says %s", out)
	}
}

// TestANoticeMovesWork tells an agent that its machine is taken away: what it runs is
// run elsewhere, and was not lost.
func TestANoticeMovesWork(t *testing.T) {
	c := newCluster(t, 1)
	file := filepath.Join(t.TempDir(), "notice")
	c.addAgent("spot", 1, "--spot", "--termination-file", file)
	c.submit("moved", "sh", "-c", "sleep 60 & wait; true")
	until(t, "the task runs", func() bool { return c.get("m1", "moved").Status == "TASK_STATUS_RUNNING" })
	c.addAgent("other", 1)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the task runs elsewhere", func() bool { return c.get("m1", "moved").NodeID == "other" })
	// Handed back by the node itself, not taken from it.
	rows := c.query("m1", `SELECT status, error FROM attempts WHERE task_id = 'moved' ORDER BY attempt`)
	if len(rows) != 2 || rows[0][0] != "RELEASED" || !strings.HasPrefix(rows[0][1], "stopped by its node") {
		t.Errorf("attempts: %v", rows)
	}
}
