package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// TestConcurrent lets submitters, cancels, and workers that hang up, lose answers,
// forget their tasks and begin new sessions loose on a member whose terms end and
// begin, all at once and with a real clock. In the end every task has ended, once,
// and the state is as it must be. Its worth is with -race.
func TestConcurrent(t *testing.T) {
	c := &crowd{session: &session{rig: newRig(t), workers: map[string]*worker{}}}
	c.opts = Options{Lease: 300 * time.Millisecond, AssignTimeout: 100 * time.Millisecond, PollGrace: 50 * time.Millisecond,
		RetryBase: time.Millisecond, RetryMax: 10 * time.Millisecond, Tick: 5 * time.Millisecond}
	c.start()
	c.now.Store(&leader{c.s, c.rig.tasks})
	var submitters, workers sync.WaitGroup
	for i := range 4 {
		submitters.Go(func() { c.submit(i) })
	}
	for i := range 6 {
		workers.Go(func() { c.work(i) })
	}
	for range 3 {
		c.awaitEntries(60)
		c.resign()
		c.lead()
		c.now.Store(&leader{c.s, c.rig.tasks})
	}
	submitters.Wait()
	c.honest.Store(true)
	c.awaitNone()
	c.done.Store(true)
	workers.Wait()
	c.settle()
	c.check()
	for _, row := range c.rows(`SELECT t.id, count(*) FROM tasks t JOIN attempts a ON a.task_seq = t.seq AND a.status = 'COMPLETED'
		GROUP BY t.id HAVING count(*) > 1`) {
		t.Error("completed more than once:", row)
	}
	if n := c.rows("SELECT count(*) FROM tasks"); n[0] != fmt.Sprint(4*perSubmitter) {
		t.Errorf("%s tasks are stored, not %d", n[0], 4*perSubmitter)
	}
	t.Log(c.rows("SELECT status, count(*) FROM attempts GROUP BY status ORDER BY status"))
}

const perSubmitter = 60

// crowd is those who call a member.
type crowd struct {
	*session
	now          atomic.Pointer[leader]
	honest, done atomic.Bool
}

type leader struct {
	s     *Scheduler
	tasks *db.TaskManifest
}

// awaitEntries waits until n more entries are applied.
func (c *crowd) awaitEntries(n uint64) {
	if err := c.engine.AwaitApplied(c.ctx, c.engine.AppliedIndex()+n); err != nil {
		c.t.Error(err)
	}
}

// awaitNone waits until no task is left to be done. Nodes lose their tasks all the time here,
// and would be held back for a minute, then two, and so on: each is let have some again.
func (c *crowd) awaitNone() {
	for index := c.engine.AppliedIndex(); c.ctx.Err() == nil; index++ {
		if n := c.rows("SELECT count(*) FROM tasks WHERE status IN ('PENDING', 'ASSIGNED', 'RUNNING')"); n[0] == "0" {
			return
		}
		for _, node := range c.rows("SELECT id FROM nodes WHERE probation_end_time_ms IS NOT NULL") {
			if err := c.s.Uncordon(c.ctx, node); err != nil && !expected(err) {
				c.t.Error(err)
			}
		}
		if err := c.engine.AwaitApplied(c.ctx, index+1); err != nil {
			c.t.Fatal(err)
		}
	}
}

// expected reports whether an error is one that a call may meet here.
func expected(err error) bool {
	switch controlplane.CodeOf(err) {
	case controlplane.CodeUnavailable, controlplane.CodeUnknownOutcome, controlplane.CodePrecondition, controlplane.CodeDeadline:
		return true
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (c *crowd) submit(i int) {
	r := rand.New(rand.NewPCG(uint64(i), 1))
	for k := range perSubmitter {
		task := execTask(fmt.Sprintf("t%d-%d", i, k))
		task.Priority, task.MaxAttempts, task.MaxLostAttempts = int32(r.IntN(3)), 3, 4
		task.Resources.CPUMillis, task.Resources.GPUs = int64(r.IntN(2)), int32(r.IntN(2))
		for {
			_, err := c.now.Load().tasks.AddTask(c.ctx, task)
			if err == nil {
				break
			}
			if !expected(err) {
				c.t.Errorf("submit: %v", err)
				return
			}
		}
		if r.IntN(8) == 0 {
			if _, err := c.now.Load().tasks.CancelTask(c.ctx, task.ID); err != nil && !expected(err) {
				c.t.Errorf("cancel: %v", err)
			}
		}
	}
}

// work is a worker of doubtful character, until all are asked to be honest.
func (c *crowd) work(i int) {
	r := rand.New(rand.NewPCG(uint64(i), 2))
	id := fmt.Sprintf("n%d", i)
	for session := 1; !c.done.Load(); session++ {
		w := &loafer{crowd: c, Rand: r, id: id, session: fmt.Sprintf("%s.%d", id, session)}
		w.run()
	}
}

type loafer struct {
	*crowd
	*rand.Rand
	id, session string
	held        map[controlplane.Attempt]bool
}

// run is the life of one session.
func (w *loafer) run() {
	w.held = map[controlplane.Attempt]bool{}
	spec := &controlplane.NodeSpec{Slots: 3, Exec: true, Capacity: controlplane.Resources{CPUMillis: 2},
		GPUDevices: []controlplane.GPUDevice{{Index: int32(w.IntN(3))}, {Index: int32(3 + w.IntN(3))}}}
	for !w.beat(spec) {
		if w.done.Load() {
			return
		}
	}
	for !w.done.Load() && (w.honest.Load() || w.IntN(20) > 0) {
		w.poll()
		if w.IntN(3) == 0 && !w.beat(nil) {
			return
		}
	}
}

func (w *loafer) list() (held []controlplane.Attempt) {
	for a := range w.held {
		held = append(held, a)
	}
	return held
}

func (w *loafer) beat(spec *controlplane.NodeSpec) bool {
	work, err := w.now.Load().s.Heartbeat(w.ctx, controlplane.Heartbeat{NodeID: w.id, SessionID: w.session, Spec: spec, Held: w.list()})
	if err != nil {
		w.mind("heartbeat", err)
		return controlplane.CodeOf(err) != controlplane.CodePrecondition && spec == nil
	}
	w.obey(work)
	return true
}

func (w *loafer) mind(what string, err error) {
	if err != nil && !expected(err) {
		w.t.Errorf("%s: %v", what, err)
	}
}

func (w *loafer) obey(work controlplane.Work) {
	for _, t := range work.Tasks {
		w.held[controlplane.Attempt{TaskID: t.ID, Attempt: t.Attempt}] = true
	}
	for _, stop := range work.Stop {
		if stop.Reason == controlplane.StopNotYours {
			delete(w.held, controlplane.Attempt{TaskID: stop.TaskID, Attempt: stop.Attempt})
		}
	}
}

// poll reports what it holds and asks for more, or hangs up on the way.
func (w *loafer) poll() {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	honest := w.honest.Load()
	if !honest && w.IntN(4) == 0 {
		time.AfterFunc(time.Duration(w.IntN(3000))*time.Microsecond, cancel)
	}
	req := controlplane.Poll{NodeID: w.id, SessionID: w.session, MaxTasks: 1 + w.IntN(3), Wait: time.Duration(w.IntN(10)) * time.Millisecond}
	if len(w.held) == 0 || !honest && w.IntN(4) == 0 {
		req.Held, req.HeldComplete = w.list(), w.IntN(2) == 0 || honest
		work, err := w.now.Load().s.Poll(ctx, req)
		w.mind("poll", err)
		w.take(work, err)
		return
	}
	var results []controlplane.Result
	for a := range w.held {
		status := controlplane.TaskCompleted
		if !honest && w.IntN(2) == 0 {
			status = []controlplane.TaskStatus{controlplane.TaskFailed, controlplane.TaskPending, controlplane.TaskCancelled}[w.IntN(3)]
		}
		results = append(results, controlplane.Result{TaskID: a.TaskID, Attempt: a.Attempt, Status: status})
	}
	outcomes, work, err := w.now.Load().s.ReportAndPoll(ctx, req, results)
	w.mind("report", err)
	for i, o := range outcomes {
		w.mind("outcome", o.Err)
		if o.Err == nil || controlplane.CodeOf(o.Err) == controlplane.CodePrecondition {
			delete(w.held, controlplane.Attempt{TaskID: results[i].TaskID, Attempt: results[i].Attempt})
		}
	}
	w.take(work, err)
}

// take takes in work, unless the answer is lost.
func (w *loafer) take(work controlplane.Work, err error) {
	if err == nil && (w.honest.Load() || w.IntN(10) > 0) {
		w.obey(work)
	}
}

// A poll for which there is nothing ends after its wait, or with its caller.
func TestPollEnds(t *testing.T) {
	r := newRig(t)
	r.opts = Options{}
	r.start()
	r.register(t, "n1", controlplane.NodeSpec{Slots: 1, Exec: true})
	req := pollOf(1, 1)
	req.Wait = time.Millisecond
	work, err := r.s.Poll(r.ctx, req)
	if err != nil || len(work.Tasks)+len(work.Stop) > 0 {
		t.Errorf("%+v, %v", work, err)
	}
	req.Wait = controlplane.MaxPollWait
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	if _, err := r.s.Poll(ctx, req); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if n := len(r.s.st.nodes["n1"].waiting); n > 0 {
		t.Errorf("%d polls wait", n)
	}
}
