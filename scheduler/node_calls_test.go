package scheduler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// node registers a node: node n1 slots=4 cpu=4000 mem=1000 gpus=2 functions=f,g.
func (c *command) node() func() string {
	w := c.worker()
	return c.beat(controlplane.Heartbeat{NodeID: w.id, SessionID: c.as(w), Spec: c.spec(w), Held: c.held()})
}

// restart registers a node under a new session.
func (c *command) restart() func() string {
	w := c.worker()
	w.session++
	return c.node()
}

// heartbeat renews a lease: heartbeat n1 held=t1/1 used_cpu=10 terminating=2m
// progress=t1/1:5/50:saving.
func (c *command) heartbeat() func() string {
	w := c.worker()
	hb := controlplane.Heartbeat{NodeID: w.id, SessionID: c.as(w), Held: c.held(), Progress: c.progress()}
	if d := c.durationOf("terminating"); d > 0 {
		c.s.s.mu.Lock()
		hb.TerminatingTime = time.UnixMilli(c.s.s.st.wallMs()).Add(d)
		c.s.s.mu.Unlock()
	}
	if c.opts["used_cpu"] != "" || c.opts["used_mem"] != "" {
		hb.Usage = &controlplane.NodeUsage{CPUMillis: int64(c.int("used_cpu", 0)), MemoryBytes: int64(c.int("used_mem", 0))}
	}
	return c.beat(hb)
}

// mark changes whether a node is given tasks: cordon n1, uncordon n1, drain n1 deadline=10s.
func (c *command) mark() func() string {
	m := c.s.s.newMarking(c.word(0), map[string]func(*state, *db.Group, *node){
		"cordon": (*state).cordon, "uncordon": (*state).uncordon,
		"drain": func(st *state, g *db.Group, n *node) {
			if _, given := c.opts["deadline"]; !given {
				st.drain(g, n, nil)
				return
			}
			d := c.durationOf("deadline")
			st.drain(g, n, &d)
		},
	}[c.name])
	c.must(c.s.rig.tasks.Enqueue(m))
	return func() string {
		if err := m.await(c.s.ctx); err != nil {
			return errorText(err)
		}
		return ""
	}
}

// remove forgets a node that is gone.
func (c *command) remove() func() string {
	m := c.s.s.newRemoval(c.word(0))
	c.must(c.s.rig.tasks.Enqueue(m))
	return func() string { return c.past(m.await(c.s.ctx))() }
}

// pruneNodes forgets the nodes that are gone for too long: prune-nodes keep=24h.
func (c *command) pruneNodes() func() string {
	pruned, err := c.s.rig.tasks.PruneNodes(c.s.ctx, db.NodeRetention(c.durationOf("keep")))
	c.must(err)
	return func() string { return fmt.Sprintf("forgot %d\n", pruned) }
}

// leftovers counts what the state has of a node.
func (c *command) leftovers() func() string {
	rows := c.s.rows(`SELECT 'nodes ' || (SELECT count(*) FROM nodes WHERE id = ?1) || ', devices ' || (SELECT count(*) FROM node_gpus WHERE node_id = ?1)
		|| ', former sessions ' || (SELECT count(*) FROM node_sessions WHERE node_id = ?1)`, db.Str(c.word(0)))
	return func() string { return rows[0] + "\n" }
}

func (c *command) beat(hb controlplane.Heartbeat) func() string {
	b := c.s.s.newBeat(hb)
	c.must(c.s.rig.tasks.Enqueue(b))
	return func() string {
		work, err := b.await(c.s.ctx)
		return c.s.work(work, err, "lease "+work.Lease.String())
	}
}

func (c *command) must(err error) {
	c.s.t.Helper()
	if err != nil {
		c.fatalf("%v", err)
	}
}

// poll asks for work: poll n1 max=2 held=t1/1. With as=p1 it waits under that name.
func (c *command) poll() func() string {
	w, s := c.worker(), c.s.s
	p := s.newPoll(c.pollRequest(w))
	c.must(c.s.rig.tasks.Enqueue(p))
	await := func(ctx context.Context) func() string {
		work, err := s.await(ctx, p)
		return func() string { return c.s.work(work, err, c.lease(work)...) }
	}
	if name := c.opts["as"]; name != "" {
		return c.wait(name, p, await)
	}
	return func() string { return await(c.s.ctx)() }
}

func (c *command) pollRequest(w *worker) controlplane.Poll {
	_, complete := c.opts["held"]
	req := controlplane.Poll{NodeID: w.id, SessionID: c.as(w), MaxTasks: c.int("max", 1), Held: c.held(), Progress: c.progress(), HeldComplete: complete}
	if c.opts["as"] != "" {
		req.Wait = controlplane.MaxPollWait
	}
	return req
}

// lease tells whether a poll has renewed the lease, if show=lease asks.
func (c *command) lease(w controlplane.Work) []string {
	if c.opts["show"] == "lease" {
		return []string{"lease " + w.Lease.String()}
	}
	return nil
}

// wait lets a poll wait under a name. What it has come to is written down by the
// goroutine of the test.
func (c *command) wait(name string, p *poll, await func(ctx context.Context) func() string) func() string {
	ctx, hangUp := context.WithCancel(c.s.ctx)
	o := &outstanding{name: name, poll: p, hangUp: hangUp, result: make(chan func() string, 1)}
	go func() { o.result <- await(ctx) }()
	c.s.polls = append(c.s.polls, o)
	return func() string {
		c.s.barrier() // it waits from then on
		return ""
	}
}

// outstanding is the poll that a command names, nil if it waits no longer.
func (c *command) outstanding() *outstanding {
	for _, o := range c.s.polls {
		if o.name == c.word(0) {
			return o
		}
	}
	return nil
}

func noPoll() string { return "no such poll waits\n" }

// hangUp ends the call of a poll from the node's side; with when=planned, between a
// pass that concerns it and the commit.
func (c *command) hangUp() func() string {
	o := c.outstanding()
	if o == nil {
		return noPoll
	}
	c.s.polls = slices.DeleteFunc(c.s.polls, func(p *outstanding) bool { return p == o })
	answer := make(chan func() string, 1)
	c.when(o.poll, func() {
		o.hangUp()
		answer <- <-o.result
	})
	return func() string {
		if c.opts["when"] != "" {
			return ""
		}
		return (<-answer)()
	}
}

// timeout ends the wait of a poll.
func (c *command) timeout() func() string {
	o := c.outstanding()
	if o == nil {
		return noPoll
	}
	c.when(o.poll, func() { c.s.s.leave(o.poll, false) })
	return func() string { return "" }
}

func (c *command) when(p *poll, fn func()) {
	if c.opts["when"] != "planned" {
		fn()
		return
	}
	c.s.plan.afterPass(func() bool {
		c.s.s.mu.Lock()
		concerned := p.inFlight || p.node != nil && !p.settled
		c.s.s.mu.Unlock()
		if concerned {
			fn()
		}
		return concerned
	})
}

var statuses = map[string]controlplane.TaskStatus{
	"completed": controlplane.TaskCompleted, "failed": controlplane.TaskFailed, "cancelled": controlplane.TaskCancelled, "released": controlplane.TaskPending,
}

// report reports attempts: report n1 t1/1=failed t2/1=completed error=boom exit=2.
// With max=2 it polls as well.
func (c *command) report() func() string {
	w := c.worker()
	var results []controlplane.Result
	for _, word := range c.words[1:] {
		at, status, _ := strings.Cut(word, "=")
		a := c.attempt(at)
		res := controlplane.Result{TaskID: a.TaskID, Attempt: a.Attempt, Status: statuses[status], Error: c.opts["error"]}
		if res.Status == "" {
			c.fatalf("%q is no outcome", status)
		}
		if _, ok := c.opts["exit"]; ok {
			code := int32(c.int("exit", 0))
			res.ExitCode = &code
		}
		res.Permanent = c.opts["permanent"] != ""
		if p, ok := c.progress()[a]; ok {
			res.Progress = &p
		}
		if c.opts["after"] != "" {
			after, err := time.ParseDuration(c.opts["after"])
			c.must(err)
			res.RetryAfter = after
		}
		results = append(results, res)
	}
	r := c.s.s.newReport(w.id, c.as(w), results)
	if c.opts["max"] != "" {
		r.poll = c.s.s.newPoll(c.pollRequest(w))
	}
	c.must(c.s.rig.tasks.Enqueue(r))
	await := func(ctx context.Context) func() string {
		if r.poll == nil {
			outcomes, err := r.await(ctx)
			return func() string { return outcomeText(outcomes, err) }
		}
		outcomes, work, err := r.awaitBoth(ctx)
		return func() string {
			if err != nil {
				return errorText(err)
			}
			return outcomeText(outcomes, nil) + c.s.work(work, nil)
		}
	}
	if c.opts["as"] != "" && r.poll != nil {
		return c.wait(c.opts["as"], r.poll, await)
	}
	return func() string { return await(c.s.ctx)() }
}

func outcomeText(outcomes []controlplane.ReportOutcome, err error) (out string) {
	if err != nil {
		return errorText(err)
	}
	for _, o := range outcomes {
		if o.Err != nil {
			out += errorText(o.Err)
		} else {
			out += string(o.Status) + "\n"
		}
	}
	return out
}

// progress reads how far attempts have come: t1/1:5/50:saving,t2/1:7/0.
func (c *command) progress() map[controlplane.Attempt]controlplane.Progress {
	all := map[controlplane.Attempt]controlplane.Progress{}
	for _, text := range c.list("progress") {
		at, rest, _ := strings.Cut(text, ":")
		numbers, message, _ := strings.Cut(rest, ":")
		p := controlplane.Progress{Message: message}
		if _, err := fmt.Sscanf(numbers, "%d/%d", &p.Done, &p.Total); err != nil {
			c.fatalf("%q is no progress", text)
		}
		all[c.attempt(at)] = p
	}
	return all
}

// submit stores tasks of the same kind in one call:
// submit t1 t2 queue=q priority=5 cpu=100 mem=10 gpus=1 function=f max_attempts=3 max_lost=2
// delay=1m queue_timeout=10s no_progress=10s key=k max_concurrency=2
// initial=1s max_backoff=1m multiplier=3 jitter=0 retry_codes=1,2, with the constraints of constraints.
func (c *command) submit() func() string {
	var tasks []*controlplane.Task
	for _, id := range c.words {
		t := execTask(id)
		t.Queue, t.Priority, t.RequestID, t.Name = c.opts["queue"], int32(c.int("priority", 0)), c.opts["request"], c.opts["name"]
		t.Resources = controlplane.Resources{CPUMillis: int64(c.int("cpu", 0)), MemoryBytes: int64(c.int("mem", 0)), GPUs: int32(c.int("gpus", 0)),
			DiskBytes: int64(c.int("disk", 0)), Custom: c.counts("custom")}
		t.Constraints = c.constraints()
		t.MaxAttempts, t.MaxLostAttempts = int32(c.int("max_attempts", 0)), int32(c.int("max_lost", 0))
		t.ConcurrencyKey, t.MaxConcurrency = c.opts["key"], int32(c.int("max_concurrency", 0))
		t.NoProgressTimeout = c.durationOf("no_progress")
		t.StartDelay, t.QueueTimeout, t.Retry = c.durationOf("delay"), c.durationOf("queue_timeout"), c.retryPolicy()
		if f := c.opts["function"]; f != "" {
			t.Exec, t.Function = nil, &controlplane.Function{Name: f, Payload: []byte(`{"x":1}`)}
		}
		tasks = append(tasks, t)
	}
	ctx, done := c.s.queued(), make(chan string, 1)
	go func() {
		outcomes, err := c.s.rig.tasks.AddTasks(ctx, tasks)
		out := ""
		for _, o := range outcomes {
			if o.Err != nil {
				out += errorText(o.Err)
			} else {
				out += taskText(o.Task)
			}
		}
		if err != nil {
			out = errorText(err)
		}
		done <- out
	}()
	<-ctx.yes
	return func() string { return <-done }
}
