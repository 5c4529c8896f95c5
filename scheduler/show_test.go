package scheduler

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// work writes down what a node is told.
func (s *session) work(w controlplane.Work, err error, first ...string) string {
	if err != nil {
		return errorText(err)
	}
	lines := first
	for _, t := range w.Tasks {
		s.checkDelivered(t)
		lines = append(lines, fmt.Sprintf("%s/%d%s", t.ID, t.Attempt, gpuText(t.GPUDevices)))
	}
	for _, stop := range w.Stop {
		lines = append(lines, fmt.Sprintf("stop %s/%d %s", stop.TaskID, stop.Attempt, stop.Reason))
	}
	if len(lines) == 0 {
		lines = []string{"nothing"}
	}
	return strings.Join(lines, "\n") + "\n"
}

// checkDelivered compares a task as a node gets it with the state.
func (s *session) checkDelivered(t *controlplane.Task) {
	stored, err := s.rig.tasks.GetTask(s.ctx, t.ID, db.ReadOptions{Level: db.Stale})
	if err != nil {
		s.t.Errorf("delivered: %v", err)
		return
	}
	if stored.Attempt == t.Attempt && stored.Status == controlplane.TaskRunning && !stored.CancelRequested && !reflect.DeepEqual(stored, t) {
		s.t.Errorf("delivered\n%+v\nstored\n%+v", t, stored)
	}
}

func errorText(err error) string {
	if errors.Is(err, context.Canceled) {
		return "cancelled by the caller\n"
	}
	return fmt.Sprintf("%s: %v\n", strings.ToUpper(string(controlplane.CodeOf(err))), err)
}

func gpuText(gpus []int32) string {
	if len(gpus) == 0 {
		return ""
	}
	return " gpus=" + strings.ReplaceAll(fmt.Sprint(gpus), " ", ",")
}

func (s *session) get(id string) string {
	t, err := s.rig.tasks.GetTask(s.ctx, id)
	if err != nil {
		return errorText(err)
	}
	return taskText(t)
}

func taskText(t *controlplane.Task) string {
	out := fmt.Sprintf("%s %s", t.ID, t.Status)
	if t.Attempt > 0 {
		out += fmt.Sprintf(" %s/%d", t.NodeID, t.Attempt)
	}
	if len(t.GPUDevices) > 0 {
		out += gpuText(t.GPUDevices)
	}
	for _, n := range []struct {
		name  string
		count int32
	}{{"failed", t.FailedAttempts}, {"lost", t.LostAttempts}} {
		if n.count > 0 {
			out += fmt.Sprintf(" %s=%d", n.name, n.count)
		}
	}
	if p := t.Progress; p != nil {
		out += fmt.Sprintf(" progress=%d/%d", p.Done, p.Total)
		if p.Message != "" {
			out += ":" + p.Message
		}
	}
	if t.CancelRequested {
		out += " cancelling"
	}
	if !t.RetryTime.IsZero() {
		out += " waits"
	}
	if t.ExitCode != nil {
		out += fmt.Sprintf(" exit=%d", *t.ExitCode)
	}
	if t.Error != "" {
		out += fmt.Sprintf(" error=%q", t.Error)
	}
	return out + "\n"
}

// tasks lists those named, or all.
func (c *command) tasks() func() string {
	all, err := c.s.rig.tasks.ListTasks(c.s.ctx, controlplane.TaskFilter{}, 0, 1000)
	c.must(err)
	out := ""
	for _, t := range slices.Backward(all) {
		if len(c.words) == 0 || slices.Contains(c.words, t.ID) {
			out += taskText(t)
		}
	}
	return func() string { return out }
}

// nodes lists all nodes with what is reserved on them.
func (c *command) nodes() func() string {
	nodes, err := c.s.rig.tasks.ListNodes(c.s.ctx, nil, "", 1000)
	c.must(err)
	out := ""
	for _, n := range nodes {
		out += fmt.Sprintf("%s %s %s tasks=%d/%d cpu=%d/%d mem=%d/%d", n.ID, n.Status, n.SessionID, n.RunningTasks, n.Spec.Slots,
			n.Reserved.CPUMillis, n.Spec.Capacity.CPUMillis, n.Reserved.MemoryBytes, n.Spec.Capacity.MemoryBytes)
		out += markText(n)
		if r := n.Spec.Capacity; r.DiskBytes > 0 {
			out += fmt.Sprintf(" disk=%d/%d", n.Reserved.DiskBytes, r.DiskBytes)
		}
		for _, name := range sortedKeys(n.Spec.Capacity.Custom) {
			out += fmt.Sprintf(" %s=%d/%d", name, n.Reserved.Custom[name], n.Spec.Capacity.Custom[name])
		}
		holders := c.s.rows(`SELECT g.device_index || ':' || coalesce(t.id, '-') FROM node_gpus g LEFT JOIN tasks t ON t.seq = g.task_seq
			WHERE g.node_id = ?1 ORDER BY g.device_index`, db.Str(n.ID))
		if len(holders) > 0 {
			out += " gpus=" + strings.Join(holders, ",")
		}
		out += "\n"
	}
	return func() string { return out }
}

// markText tells what keeps tasks from a node.
func markText(n *controlplane.Node) (out string) {
	if !n.Schedulable {
		out += " cordoned"
	}
	if !n.Drain.StartTime.IsZero() {
		out += fmt.Sprintf(" draining=%d/%d", n.RunningTasks, n.Drain.InitialTasks)
	}
	if !n.TerminatingTime.IsZero() {
		out += " terminating"
	}
	if n.Lapses >= flapLapses {
		out += fmt.Sprintf(" lapses=%d", n.Lapses)
	}
	if !n.ProbationEnd.IsZero() {
		out += fmt.Sprintf(" probation=%v", n.ProbationEnd.Sub(n.LapseTime).Round(time.Second))
	}
	return out
}

// explain tells why a task is where it is.
func (c *command) explain() func() string {
	e, err := c.s.s.Explain(c.s.ctx, c.word(0))
	return func() string {
		if err != nil {
			return errorText(err)
		}
		if settled := c.s.get(c.word(0)); e.Placeable && strings.Contains(settled, "PENDING") {
			c.s.t.Errorf("%s is explained to be placeable, and was not placed", c.word(0))
		}
		out := e.Summary + "\n"
		for _, r := range e.Rejections {
			out += fmt.Sprintf("%s: %d %v\n", r.Reason, r.Nodes, r.NodeIDs)
		}
		if e.TasksAhead > 0 {
			out += fmt.Sprintf("ahead: %d\n", e.TasksAhead)
		}
		return out
	}
}

// polling lists the nodes that ask for work.
func (c *command) polling() func() string {
	rows := c.s.rows("SELECT id FROM nodes WHERE polling ORDER BY id")
	return func() string { return strings.Join(append(rows, ""), "\n") }
}

// attempts lists the attempts of a task.
func (c *command) attempts() func() string {
	rows := c.s.rows(`SELECT attempt || ' ' || node_id || ' ' || status || coalesce(' exit=' || exit_code, '') || coalesce(' error="' || error || '"', '')
		|| coalesce(' ' || progress_percent || '%', '') || coalesce(' after ' || ((progress_time_ms - start_time_ms) / 1000) || 's', '')
		FROM attempts WHERE task_id = ?1 ORDER BY attempt`, db.Str(c.word(0)))
	return func() string { return strings.Join(append(rows, ""), "\n") }
}

// events lists what happened to a task or a node.
func (c *command) events() func() string {
	rows := c.s.rows(`SELECT iif(task_id IS NULL, type, status) || iif(attempt > 0, ' ' || coalesce(node_id, '') || '/' || attempt, '') || coalesce(' ' || reason, '')
		FROM events WHERE task_id = ?1 OR task_id IS NULL AND node_id = ?1 ORDER BY log_index, ordinal`, db.Str(c.word(0)))
	return func() string { return strings.Join(append(rows, ""), "\n") }
}
