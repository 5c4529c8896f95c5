package e2e

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSharesNeedSlots runs examples/queues on two slots, where 3 to 1 cannot be: it
// says so, and how to start what it needs.
func TestSharesNeedSlots(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.addAgent("n1", 2)
	out, err := exec.CommandContext(t.Context(), "python3", "../examples/queues/share.py", "--server", c.servers()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the agents have 2 slots together") || !strings.Contains(string(out), "--slots 2 &") {
		t.Errorf("%v\n%s", err, out)
	}
	if rows := c.query(c.any(), `SELECT id FROM tasks`); len(rows) > 0 {
		t.Errorf("it has submitted %d tasks", len(rows))
	}
}

// TestQueuesShareABusyFleet runs examples/queues as it stands, on three members and two
// agents: as long as both queues have tasks that wait, they share the nodes 3 to 1.
func TestQueuesShareABusyFleet(t *testing.T) {
	c := newCluster(t, 3)
	for _, name := range []string{"n1", "n2"} {
		c.addAgent(name, 4)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", "../examples/queues/share.py", "--server", strings.Split(c.servers(), ",")[0], "--tasks", "120", "--sleep", "0.3")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "started while tasks of both waited: gold ") {
		t.Errorf("the example says\n%s", out)
	}
	// From when both had begun, at the 16th of 120 gold tasks, to the 112th: then tasks of
	// both queues waited.
	started := map[string]float64{}
	for _, row := range c.query(c.any(), `WITH gold AS (
		  SELECT start_time_ms, row_number() OVER (ORDER BY start_time_ms, seq) AS number FROM tasks WHERE queue = 'gold' AND start_time_ms IS NOT NULL)
		SELECT queue, count(*) FROM tasks WHERE name = 'share'
		  AND start_time_ms > (SELECT start_time_ms FROM gold WHERE number = 16) AND start_time_ms <= (SELECT start_time_ms FROM gold WHERE number = 112)
		GROUP BY queue`) {
		n, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		started[row[0]] = n
	}
	ratio := started["gold"] / started["silver"]
	t.Logf("started: %v, which is %.2f to 1", started, ratio)
	if !(ratio > 2.7 && ratio < 3.3) {
		t.Errorf("started %v: %.2f to 1, want 3 to 1 within a tenth\n%s", started, ratio, out)
	}
}
