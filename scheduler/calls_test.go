package scheduler

import (
	"fmt"
	"strings"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// item is a part of a group that a test makes by itself.
type item struct {
	prepare func(g *db.Group)
	done    chan error
}

func (i *item) Prepare(g *db.Group)      { i.prepare(g) }
func (i *item) Finish(err error)         { i.done <- err }
func (i *item) Weight() (ops, bytes int) { return 1, 64 }

func (c *command) enqueue(prepare func(g *db.Group)) *item {
	i := &item{prepare: prepare, done: make(chan error, 1)}
	c.must(c.s.rig.tasks.Enqueue(i))
	return i
}

// cancel cancels a task, as the manifest does.
func (c *command) cancel() func() string {
	id := c.word(0)
	t, err := c.s.rig.tasks.GetTask(c.s.ctx, id)
	if err != nil || t.Status.Final() {
		return func() string { return c.s.get(id) }
	}
	i := c.enqueue(func(g *db.Group) {
		if !c.s.plan.Cancel(g, t) {
			h := db.Held{Seq: t.Seq, TaskID: id, Attempt: t.Attempt}
			g.Add(db.CancelWaitingOp(h, g.Now), nil)
			g.Add(db.CancelRunningOp(h), nil)
		}
	})
	return func() string {
		c.must(<-i.done)
		return c.s.get(id)
	}
}

// retry tries an ended task again.
func (c *command) retry() func() string {
	_, err := c.s.rig.tasks.RetryTask(c.s.ctx, c.word(0))
	return func() string {
		if err != nil {
			return errorText(err)
		}
		c.s.rig.settle() // the pass that follows may place it, before it is looked at or after
		return c.s.get(c.word(0))
	}
}

// cancelTasks cancels many: cancel-tasks queue=q node=n1 status=PENDING limit=3.
func (c *command) cancelTasks() func() string {
	f := controlplane.TaskFilter{Queue: c.opts["queue"], NodeID: c.opts["node"], Name: c.opts["name"]}
	for _, s := range c.list("status") {
		f.Statuses = append(f.Statuses, controlplane.TaskStatus(s))
	}
	counts, err := c.s.rig.tasks.CancelTasks(c.s.ctx, f, 0, c.int("limit", 1000))
	c.must(err)
	return func() string {
		return fmt.Sprintf("cancelled %d, stopping %d, more %v\n", counts.Cancelled, counts.Stopping, counts.Next > 0)
	}
}

// advance moves the clock, and has what is due taken up; clock only moves it.
func (c *command) advance() func() string {
	c.s.rig.advance(c.duration(c.word(0)))
	if c.name == "advance" {
		c.s.rig.tick()
	}
	return func() string { return "" }
}

// tick has what is due taken up.
func (c *command) tick() func() string {
	i := c.enqueue(func(*db.Group) {
		c.s.s.mu.Lock()
		defer c.s.s.mu.Unlock()
		c.s.s.st.collecting = true
	})
	return func() string {
		c.must(<-i.done)
		return ""
	}
}

// newLeader ends the term and begins another, with nothing but the state.
func (c *command) newLeader() func() string {
	c.s.resign()
	c.s.lead()
	return func() string { return "" }
}

// reopen closes the engine and opens it on the same directory.
func (c *command) reopen() func() string {
	c.s.close()
	c.s.open()
	c.s.lead()
	return func() string { return "" }
}

// assign, complete and renew are the manifest's one-at-a-time methods, past the
// scheduler, like register, which begins a session.
func (c *command) assign() func() string {
	return c.past(c.s.rig.tasks.AssignTask(c.s.ctx, c.word(0), c.word(1)))
}

func (c *command) complete() func() string {
	return c.past(c.s.rig.tasks.CompleteTask(c.s.ctx, c.word(0), []byte(`{}`)))
}

func (c *command) renew() func() string {
	return c.past(c.s.rig.tasks.UpdateNodeHeartbeat(c.s.ctx, c.word(0), 1, 1, 1))
}

func (c *command) register() func() string {
	w := c.worker()
	return c.past(c.s.rig.tasks.RegisterNode(c.s.ctx, w.id, c.as(w), *c.spec(w)))
}

func (c *command) past(err error) func() string {
	return func() string {
		if err != nil {
			return errorText(err)
		}
		return ""
	}
}

// sql changes the state past the scheduler.
func (c *command) sql() func() string {
	i := c.enqueue(func(g *db.Group) {
		g.Add(&db.Op{Steps: []db.Step{{SQL: strings.Join(c.words, " ")}}}, func(db.OpResult) { c.s.s.Disturbed() })
	})
	return func() string {
		c.must(<-i.done)
		return ""
	}
}
