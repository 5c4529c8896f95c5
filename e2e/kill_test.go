package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// exactlyOnce checks in the record of every member that each task of a prefix
// completed, once.
func (c *cluster) exactlyOnce(prefix string, n int) {
	c.t.Helper()
	for _, name := range c.names {
		rows := c.query(name, fmt.Sprintf(
			"SELECT count(*), count(DISTINCT task_id) FROM attempts WHERE status = 'COMPLETED' AND task_id LIKE '%s%%'", prefix))
		if got := strings.Join(rows[0], " of "); got != fmt.Sprintf("%d of %d", n, n) {
			c.t.Errorf("%s records %s distinct completions, want %d of %d", name, got, n, n)
		}
	}
}

func TestLeaderAndAgentKilledUnderLoad(t *testing.T) {
	const tasks = 500
	c := newCluster(t, 3)
	c.addAgent("n1", 8)
	c.addAgent("n2", 8)
	half := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		parallel(tasks, 16, func(i int) {
			if i == tasks/2 {
				close(half)
			}
			c.submit(fmt.Sprintf("load-%d", i), "true")
		})
	}()
	<-half
	old, _ := c.leader()
	c.members[old].signal(syscall.SIGKILL)
	c.agents["n1"].signal(syscall.SIGKILL)
	<-done // every submission is acknowledged, by the members that are left
	until(t, "all tasks end", func() bool {
		var a struct{ Rows [][]any }
		err := c.try(c.leaderOtherThan(old), "QueryService/Query", m{"sql": "SELECT count(*) FROM tasks WHERE status = 'COMPLETED' AND id LIKE 'load-%'"}, &a)
		return err == nil && fmt.Sprint(a.Rows[0][0]) == strconv.Itoa(tasks)
	})
	c.members[old].kill()
	c.members[old].start()
	c.ready()
	c.exactlyOnce("load-", tasks)
}

// leaderOtherThan returns the name of a running member that is not the killed one.
func (c *cluster) leaderOtherThan(killed string) string {
	for _, name := range c.names {
		if name != killed {
			return name
		}
	}
	return ""
}

func TestAllMembersKilledAndStartedAgain(t *testing.T) {
	c := newCluster(t, 3)
	c.addAgent("n1", 2)
	for i := range 20 {
		c.submit(fmt.Sprintf("done-%d", i), "echo", strconv.Itoa(i))
	}
	for i := range 20 {
		c.ends(fmt.Sprintf("done-%d", i))
	}
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	c.submit("running", "cat", gate)
	until(t, "the task runs", func() bool { return c.get("m1", "running").Status == "TASK_STATUS_RUNNING" })
	c.submitTask(m{"id": "waiting", "exec": m{"command": []string{"true"}}, "resources": m{"gpus": 1}})
	before := c.query("m1", "SELECT id, status, attempt, create_time_ms, end_time_ms FROM tasks ORDER BY id")
	for _, name := range c.names {
		c.members[name].signal(syscall.SIGKILL)
	}
	for _, name := range c.names {
		c.members[name].kill()
		c.members[name].start()
	}
	c.ready()
	for _, name := range c.names {
		if after := c.query(name, "SELECT id, status, attempt, create_time_ms, end_time_ms FROM tasks ORDER BY id"); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s has another state than before:\n%v\n%v", name, after, before)
		}
	}
	f, err := os.OpenFile(gate, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "went on")
	f.Close()
	if end := c.ends("running"); end.Status != completed || end.Attempt != 1 || end.LogTail != "went on" {
		t.Errorf("the task that ran meanwhile: %+v", end)
	}
	c.exactlyOnce("done-", 20)
}

func TestAgentStoppedBeyondItsLease(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	first := c.addAgent("n1", 1)
	marks := t.TempDir()
	// Each attempt leaves its process id and stays until it is killed; the second
	// node's attempt ends at once.
	script := fmt.Sprintf(`echo $$ > %s/$TASK_ATTEMPT; if [ $TASK_ATTEMPT = 1 ]; then trap '' TERM; while :; do sleep 0.1; done; fi`, marks)
	c.submit("job", "sh", "-c", script)
	var pid int
	until(t, "the first attempt runs", func() bool {
		text, _ := os.ReadFile(filepath.Join(marks, "1"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid > 0
	})
	first.signal(syscall.SIGSTOP)
	c.addAgent("n2", 1)
	end := c.ends("job")
	if end.Status != completed || end.Attempt != 2 || end.NodeID != "n2" || end.LostCount != 1 {
		t.Errorf("the task: %+v, want it completed by the second attempt, on n2", end)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the first attempt's process %d was not stopped in time: %v", pid, err)
	}
	first.signal(syscall.SIGCONT)
	c.healthy("n1")
	if again := c.get("m1", "job"); again.Attempt != 2 || again.NodeID != "n2" || again.Status != completed {
		t.Errorf("after the stopped agent came back: %+v", again)
	}
	// The late report of the first attempt, as that agent would send it.
	var node struct{ Node struct{ SessionID string } }
	c.call("m1", "NodeService/GetNode", m{"id": "n1"}, &node)
	err := c.try("m1", "NodeService/ReportTaskResult", m{"task_id": "job", "attempt": 1, "node_id": "n1",
		"session_id": node.Node.SessionID, "status": "TASK_STATUS_COMPLETED"}, &m{})
	if codeOf(err) != "failed_precondition" {
		t.Errorf("a late report: %v, want failed_precondition", err)
	}
	c.exactlyOnce("job", 1)
}

func TestAStoppedLeaderServesNothingOld(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.submitTask(m{"id": "x", "exec": m{"command": []string{"true"}}, "resources": m{"gpus": 1}})
	old, others := c.leader()
	c.members[old].signal(syscall.SIGSTOP)
	// The others elect one of them and take a write.
	until(t, "the others take a write", func() bool {
		var a struct{ Task task }
		return c.try(others[0], "TaskService/CancelTask", m{"id": "x"}, &a) == nil && a.Task.Status == "TASK_STATUS_CANCELLED"
	})
	answers := make(chan string, 50)
	for range cap(answers) { // waiting in the stopped leader's buffers when it goes on
		go func() {
			var a struct{ Task task }
			if err := c.try(old, "TaskService/GetTask", m{"id": "x"}, &a); err != nil {
				answers <- "refused"
				return
			}
			answers <- a.Task.Status
		}()
	}
	c.members[old].signal(syscall.SIGCONT)
	for range cap(answers) {
		if status := <-answers; status == "TASK_STATUS_PENDING" {
			t.Fatal("the former leader answered a linearizable read with what was no longer so")
		}
	}
}
