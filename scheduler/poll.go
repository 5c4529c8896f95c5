package scheduler

import (
	"context"
	"slices"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// renewAfter is how old a renewal must be for a poll to renew again.
const renewAfter = time.Second

// poll is a call that waits for work. It is an item of the group that it arrives
// with, and then waits at its node. It is answered once, by finish.
type poll struct {
	s    *Scheduler
	req  controlplane.Poll
	done chan struct{}

	// Guarded by Scheduler.mu until done is closed.
	node  *node
	given []given
	stop  []controlplane.Stop
	lease time.Duration
	err   error

	settled  bool // the group that it arrived with is committed, or has failed
	inFlight bool // it is looked at when the present group is committed
	now      bool // answer it as soon as that is possible
	gone     bool // nobody waits for the answer
	refused  bool // it gets nothing, because of a change in the present group
	resolved bool
}

// given is a task that a poll is answered with.
type given struct {
	attempt *attempt
	task    *controlplane.Task // nil: to be read from the state
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

// await waits for the poll's answer.
func (s *Scheduler) await(ctx context.Context, p *poll) (controlplane.Work, error) {
	end, stop := s.opts.timer(min(p.req.Wait, controlplane.MaxPollWait))
	defer stop()
	select {
	case <-p.done:
	case <-end:
		s.leave(p, false)
	case <-ctx.Done():
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		s.leave(p, true) // what it is given meanwhile is delivered again
		return controlplane.Work{}, ctx.Err()
	}
	if p.err != nil {
		return controlplane.Work{}, p.err
	}
	work := controlplane.Work{Stop: p.stop, Lease: p.lease}
	var err error
	if work.Tasks, err = s.fetch(ctx, p.given); err != nil {
		s.undelivered(p)
		return controlplane.Work{}, err
	}
	return work, nil
}

// fetch returns the tasks that a poll was given, but for those that were taken
// back meanwhile.
func (s *Scheduler) fetch(ctx context.Context, list []given) ([]*controlplane.Task, error) {
	if len(list) == 0 {
		return nil, nil
	}
	s.doubt(list)
	var seqs []int64
	for _, g := range list {
		if g.task == nil {
			seqs = append(seqs, g.attempt.Seq)
		}
	}
	read, err := s.read(ctx, seqs)
	if err != nil {
		return nil, err
	}
	var out []*controlplane.Task
	for _, g := range list {
		t, a := g.task, g.attempt
		if t == nil {
			t = read[a.Seq]
		}
		if t != nil && t.NodeID == a.NodeID && t.Attempt == a.Attempt && t.Status == controlplane.TaskRunning {
			out = append(out, t)
		}
	}
	return out, ctx.Err()
}

// doubt has those read that may have been taken back since their group was committed.
func (s *Scheduler) doubt(list []given) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range list {
		a := list[i].attempt
		if s.st == nil || s.st.held[a.TaskID] == nil || s.st.held[a.TaskID].Attempt != a.Attempt {
			list[i].task = nil
		}
	}
}

func (s *Scheduler) read(ctx context.Context, seqs []int64) (map[int64]*controlplane.Task, error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	tasks, err := s.tasks.TasksForWork(ctx, seqs)
	read := make(map[int64]*controlplane.Task, len(tasks))
	for _, t := range tasks {
		read[t.Seq] = t
	}
	return read, err
}

// carry keeps what a task does with the poll that is answered with it, so that it
// need not be read.
func (p *poll) carry(a *attempt, t *controlplane.Task) {
	for i := range p.given {
		if p.given[i].attempt == a {
			p.given[i].task = t
		}
	}
}

// leave ends the wait of a poll. What is under way in its favour is committed
// first; gone says that nobody waits for that.
func (s *Scheduler) leave(p *poll, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.now, p.gone = true, p.gone || gone
	switch {
	case p.resolved && gone:
		s.deliverAgain(p)
	case p.settled && !p.inFlight && !p.resolved:
		p.node.polled = s.opts.Now()
		p.finish(nil)
	}
}

// undelivered is for an answer that could not be given.
func (s *Scheduler) undelivered(p *poll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliverAgain(p)
}

// deliverAgain gives what a poll was given to another poll of the node.
func (s *Scheduler) deliverAgain(p *poll) {
	st := s.st
	if st == nil {
		return // the next leader learns from the node what it does not have
	}
	for _, g := range p.given {
		a := st.held[g.attempt.TaskID]
		if a == nil || a.Attempt != g.attempt.Attempt || a.node.session != p.req.SessionID {
			continue
		}
		a.redeliver = true
		st.note(a)
		st.owing[a.node] = struct{}{}
		s.tasks.Kick()
	}
}

// finish answers the poll, with an error if one is given or it was refused.
// Scheduler.mu is held.
func (p *poll) finish(err error) {
	if p.resolved {
		return
	}
	p.resolved = true
	if err != nil {
		p.err = err // also instead of a refusal: a group that failed refuses nobody
	}
	if n := p.node; n != nil {
		n.waiting = slices.DeleteFunc(n.waiting, func(q *poll) bool { return q == p })
	}
	close(p.done)
}

// answer has the poll looked at when the group is committed.
func (st *state) answer(p *poll) {
	if !p.inFlight {
		p.inFlight = true
		st.answers = append(st.answers, p)
	}
}

// refuse has the poll refused when the group is committed, or sent away with
// nothing if err is nil.
func (st *state) refuse(p *poll, err error) {
	p.now, p.refused, p.err = true, true, err
	st.answer(p)
}

// resolve answers a poll of this group that was given something or may not wait.
func (st *state) resolve(p *poll) {
	p.inFlight = false
	if p.resolved || len(p.given) == 0 && len(p.stop) == 0 && !p.now {
		return
	}
	if !p.refused {
		p.node.polled = st.now()
	}
	p.finish(nil)
	if p.gone {
		st.s.deliverAgain(p)
	}
}

// poll returns a poll of the node that can take one more task.
func (n *node) poll() *poll {
	for _, p := range n.waiting {
		if p.takes() {
			return p
		}
	}
	return nil
}

func (p *poll) takes() bool { return len(p.given) < p.req.MaxTasks && !p.gone && !p.refused }

// Weight implements db.Item.
func (p *poll) Weight() (ops, bytes int) {
	return 2 + len(p.req.Progress), 256 + progressBytes*len(p.req.Progress)
}

// Prepare implements db.Item: it renews the lease, hands out what is assigned or
// was lost on the way, and lets the poll wait for more.
func (p *poll) Prepare(g *db.Group) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	st := p.s.st
	n, err := st.session(p.req.NodeID, p.req.SessionID)
	if err != nil || p.gone {
		st.refuse(p, err)
		return
	}
	p.node = n
	n.polled = st.now()
	n.waiting = append(n.waiting, p)
	st.touch(n)
	st.renewForPoll(g, p)
	st.notePolling(g, n)
	if p.req.HeldComplete {
		st.compare(g, n, p.req.Held, 0)
		st.follow(g, n, p.req.Held, p.req.Progress)
		p.stop = notYours(n, p.req.Held)
	}
	p.stop = append(p.stop, st.stops(n, stopAgainAfter)...)
	st.deliver(g, p)
	if p.req.Wait <= 0 || len(p.stop) > 0 {
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
	p.settled = true
	if err != nil || p.now {
		p.finish(err)
	}
}

// renewForPoll renews the lease with a poll if the last renewal is a while ago.
func (st *state) renewForPoll(g *db.Group, p *poll) {
	n := p.node
	if n.renewing != st.group {
		if n.status == controlplane.NodeHealthy && st.now().Sub(n.renewed) < renewAfter {
			return
		}
		st.renew(g, n, nil, func(held bool) {
			if !held {
				p.lease = 0
			}
		})
	}
	p.lease = st.s.opts.Lease
}
