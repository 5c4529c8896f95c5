package scheduler

import (
	"context"
	"slices"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

const (
	// renewAfter is how old a renewal must be for a poll to renew again.
	renewAfter = time.Second
	// stopAgainAfter is how long a poll waits before it repeats a stop: stopping
	// takes a while, and a poll that carries a stop is answered at once.
	stopAgainAfter = 2 * time.Second
	// redeliverAfter is how old an attempt must be for a heartbeat that does not
	// list it to mean that its delivery was lost.
	redeliverAfter = 2 * time.Second
)

// poll is a call that waits for work. It is an item of the group that it arrives
// with, and then waits at its node.
type poll struct {
	s    *Scheduler
	req  controlplane.Poll
	done chan struct{}

	// Guarded by Scheduler.mu until done is closed.
	node     *node
	seqs     []int64 // tasks that it was given
	stop     []controlplane.Stop
	lease    time.Duration
	err      error
	resolved bool
	now      bool // answer at the end of the group that it arrived with
	inFlight bool // it is to be answered when the present group is committed
}

// Poll waits until there is work for a node, at most req.Wait, and returns tasks
// that are RUNNING on it from then on.
func (s *Scheduler) Poll(ctx context.Context, req controlplane.Poll) (controlplane.Work, error) {
	p := s.newPoll(req)
	if err := s.tasks.Enqueue(p); err != nil {
		return controlplane.Work{}, err
	}
	return s.await(ctx, p)
}

func (s *Scheduler) newPoll(req controlplane.Poll) *poll {
	req.MaxTasks = max(req.MaxTasks, 1)
	return &poll{s: s, req: req, done: make(chan struct{})}
}

// await waits for the poll's answer and fetches its tasks.
func (s *Scheduler) await(ctx context.Context, p *poll) (controlplane.Work, error) {
	timer := time.NewTimer(min(p.req.Wait, controlplane.MaxPollWait))
	defer timer.Stop()
	timeout := timer.C
	for waiting := true; waiting; {
		select {
		case <-p.done:
			waiting = false
		case <-timeout:
			timeout = nil
			s.leave(p, nil)
		case <-ctx.Done():
			s.leave(p, nil)
			if !p.isDone() {
				return controlplane.Work{}, ctx.Err() // what it is given meanwhile is delivered again
			}
		}
	}
	if p.err != nil {
		return controlplane.Work{}, p.err
	}
	work := controlplane.Work{Stop: p.stop, Lease: p.lease}
	if len(p.seqs) == 0 {
		return work, nil
	}
	tasks, err := s.tasks.TasksForWork(ctx, p.seqs)
	for _, t := range tasks {
		if t.NodeID == p.req.NodeID && t.Status == controlplane.TaskRunning {
			work.Tasks = append(work.Tasks, t)
		}
	}
	return work, err
}

func (p *poll) isDone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// leave ends the wait of a poll, unless its answer is under way.
func (s *Scheduler) leave(p *poll, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.node == nil || p.inFlight || p.resolved {
		p.now = true // it is answered at the end of its group
		return
	}
	p.node.polled = s.opts.Now()
	p.finish(err)
}

// finish answers the poll. Scheduler.mu is held.
func (p *poll) finish(err error) {
	if p.resolved {
		return
	}
	p.resolved, p.err = true, err
	if n := p.node; n != nil {
		n.waiting = slices.DeleteFunc(n.waiting, func(q *poll) bool { return q == p })
	}
	close(p.done)
}

// resolve answers a poll that was given something.
func (st *state) resolve(p *poll) {
	p.inFlight = false
	if len(p.seqs) > 0 || len(p.stop) > 0 || p.now {
		p.node.polled = st.now()
		p.finish(nil)
	}
}

// answer notes that the poll is to be answered when the group is committed.
func (st *state) answer(p *poll) {
	if !p.inFlight {
		p.inFlight = true
		st.answered = append(st.answered, p)
	}
}

// dismiss answers all polls that wait at the node.
func (n *node) dismiss(err error) {
	for _, p := range slices.Clone(n.waiting) {
		p.finish(err)
	}
}

// poll returns a poll of the node that can take one more task.
func (n *node) poll() *poll {
	for _, p := range n.waiting {
		if len(p.seqs) < p.req.MaxTasks {
			return p
		}
	}
	return nil
}

// Weight implements db.Item.
func (p *poll) Weight() (ops, bytes int) { return 1, 256 }

// Prepare implements db.Item: it renews the lease, hands out what is assigned or
// was lost on the way, and lets the poll wait for more.
func (p *poll) Prepare(g *db.Group) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	st := p.s.st
	n, err := st.session(p.req.NodeID, p.req.SessionID)
	if err != nil {
		p.finish(err)
		return
	}
	p.node = n
	n.polled = st.now()
	n.waiting = append(n.waiting, p)
	st.touched[n] = true
	st.renewForPoll(g, p)
	p.stop = st.stops(n, p.req.Held, false)
	st.redeliver(p)
	st.deliver(g, p)
	if p.req.Wait <= 0 || len(p.stop) > 0 || len(p.seqs) > 0 {
		p.now = true
	}
	if p.now {
		st.answer(p)
	}
}

// Finish implements db.Item.
func (p *poll) Finish(err error) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if err != nil {
		p.finish(err)
		return
	}
	if p.now && p.node != nil && !p.resolved {
		p.node.polled = p.s.opts.Now()
		p.finish(nil)
	}
}

// renewForPoll renews the lease with a poll if the last renewal is a while ago.
func (st *state) renewForPoll(g *db.Group, p *poll) {
	n := p.node
	if n.renewing != g && n.status == controlplane.NodeHealthy && st.now().Sub(n.renewed) < renewAfter {
		return
	}
	if n.renewing != g {
		st.renew(g, n, nil)
	}
	p.lease = st.s.opts.Lease
}

// redeliver gives the poll what the state says is running on the node and the
// node does not know of.
func (st *state) redeliver(p *poll) {
	if p.req.HeldComplete {
		known := setOf(p.req.Held)
		for _, a := range p.node.attempts {
			if a.Status == controlplane.TaskRunning && !known[controlplane.Attempt{TaskID: a.TaskID, Attempt: a.Attempt}] && !st.inAnswer(a) {
				a.redeliver = true
			}
		}
	}
	for _, a := range p.node.sorted() {
		if a.redeliver && len(p.seqs) < p.req.MaxTasks {
			a.redeliver, a.since = false, st.now()
			p.seqs = append(p.seqs, a.Seq)
		}
	}
}

// inAnswer reports whether the attempt is in the answer to another poll.
func (st *state) inAnswer(a *attempt) bool {
	for _, p := range a.node.waiting {
		if slices.Contains(p.seqs, a.Seq) {
			return true
		}
	}
	return false
}

// deliver hands out what is assigned to the node.
func (st *state) deliver(g *db.Group, p *poll) {
	for _, a := range p.node.sorted() {
		if a.Status != controlplane.TaskAssigned || len(p.seqs) >= p.req.MaxTasks {
			continue
		}
		a.Status, a.since = controlplane.TaskRunning, st.now()
		p.seqs = append(p.seqs, a.Seq)
		g.Add(db.DeliverOp(a.Held, g.Now), st.checked("deliver", nil))
	}
}

// sorted returns the node's attempts in the order of their submission.
func (n *node) sorted() []*attempt {
	list := make([]*attempt, 0, len(n.attempts))
	for _, a := range n.attempts {
		if a.redeliver || a.Status == controlplane.TaskAssigned {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *attempt) int { return int(a.Seq - b.Seq) })
	return list
}

func setOf(held []controlplane.Attempt) map[controlplane.Attempt]bool {
	set := make(map[controlplane.Attempt]bool, len(held))
	for _, h := range held {
		set[h] = true
	}
	return set
}

// stops tells a node what to stop: attempts that it lists and the state does not
// give it, and attempts that were cancelled. repeat is for heartbeats, which
// repeat a stop each time.
func (st *state) stops(n *node, held []controlplane.Attempt, repeat bool) (stop []controlplane.Stop) {
	for _, h := range held {
		if a := n.attempts[h.TaskID]; a == nil || a.Attempt != h.Attempt {
			stop = append(stop, controlplane.Stop{TaskID: h.TaskID, Attempt: h.Attempt, Reason: controlplane.StopNotYours})
		}
	}
	for _, a := range n.attempts {
		if a.CancelRequested && (repeat || st.now().Sub(a.stopSent) >= stopAgainAfter) {
			if !repeat {
				a.stopSent = st.now()
			}
			stop = append(stop, controlplane.Stop{TaskID: a.TaskID, Attempt: a.Attempt, Reason: controlplane.StopCancelled})
		}
	}
	return stop
}
