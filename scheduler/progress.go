package scheduler

import (
	"context"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// Progress comes with heartbeats. It is written when it differs from what is known, in
// the entry that renews the lease, and that is what makes it progress: a node that says
// the same again, to a new leader for example, changes nothing.
//
// Whether an attempt is stuck is looked at when its node is heard and has said how far
// each attempt has come: no timer is needed, and a time without a leader, in which
// nobody could say anything, counts against nobody. A node that is not heard loses its
// lease.

// progressBytes is about how many bytes one progress takes in an entry.
const progressBytes = 320

// course is what is known of the progress of an attempt. It is read when a heartbeat
// first lists the attempt, so that the many that are over by then cost nothing.
type course struct {
	known bool
	// timeout is how long it may go without progress; for ever if 0.
	timeout time.Duration
	// last is what it has reported, if it has.
	last *controlplane.Progress
	// moved is when it was handed out or last made progress.
	moved time.Time
	// stuck is since when the node is to stop it for want of progress.
	stuck time.Time
}

func (a *attempt) isStuck() bool { return !a.course.stuck.IsZero() }

// learn reads what the state says of the attempts of which that is not known yet.
func (st *state) learn(attempts []*attempt) bool {
	seqs := make([]int64, len(attempts))
	bySeq := make(map[int64]*attempt, len(attempts))
	for i, a := range attempts {
		seqs[i], bySeq[a.Seq] = a.Seq, a
	}
	var read []db.AttemptProgress
	err := st.read(context.Background(), func(c db.Conn) (err error) {
		read, err = st.s.tasks.Progress(c, seqs)
		return err
	})
	if err != nil {
		st.s.log.Error("cannot read how far tasks have come: their progress is left out of account", "error", err)
		return false
	}
	for _, a := range attempts {
		a.course = course{known: true, moved: a.since}
	}
	for _, p := range read {
		a := bySeq[p.Seq]
		if a.Attempt != p.Attempt {
			continue
		}
		a.course.timeout, a.course.last = p.Timeout, p.Progress
		if p.StartMs == 0 && p.TimeMs == 0 {
			continue // it is handed out by this very group
		}
		// By the wall clock of this term: the monotonic one says nothing of another's.
		ago := max(time.Duration(st.wallMs()-max(p.StartMs, p.TimeMs))*time.Millisecond, 0)
		a.course.moved = st.now().Add(-ago)
	}
	return true
}

// follow takes in how far the attempts that a node lists have come, and has it stop
// those that have come no further for too long.
func (st *state) follow(g *db.Group, n *node, held []controlplane.Attempt, said map[controlplane.Attempt]controlplane.Progress) {
	for _, a := range st.running(n, held) {
		if p, ok := said[a.key()]; ok {
			st.advance(g, a, p)
		}
		st.lookAt(g, a)
	}
}

// running are the attempts of those listed that run on the node, once all is known
// of their progress.
func (st *state) running(n *node, held []controlplane.Attempt) (list []*attempt) {
	var unknown []*attempt
	for _, h := range held {
		a := n.attempts[h.TaskID]
		if a == nil || a.Attempt != h.Attempt || a.Status != controlplane.TaskRunning {
			continue
		}
		list = append(list, a)
		if !a.course.known {
			unknown = append(unknown, a)
		}
	}
	if len(unknown) > 0 && !st.learn(unknown) {
		return nil
	}
	return list
}

// advance writes down how far an attempt has come, if it has moved.
func (st *state) advance(g *db.Group, a *attempt, p controlplane.Progress) {
	c := &a.course
	if c.last != nil && *c.last == p || !st.s.tasks.KeepsProgress() {
		return
	}
	c.last, c.moved = &p, st.now()
	g.Add(db.ProgressOp(a.Held, p, g.Now), st.checked("progress", nil))
}

// lookAt has an attempt stopped that has made no progress for too long, and takes it
// off a node that does not stop it.
func (st *state) lookAt(g *db.Group, a *attempt) {
	now, c := st.now(), &a.course
	switch {
	case c.timeout == 0, a.CancelRequested, !a.stopping.IsZero():
	case !a.isStuck() && now.Sub(c.moved) >= c.timeout:
		c.stuck = now
		st.note(a)
	case a.isStuck() && now.Sub(c.stuck) > handBackTime:
		st.giveUp(g, a)
	}
}

// giveUp fails an attempt that its node was told to stop and has not reported.
func (st *state) giveUp(g *db.Group, a *attempt) {
	st.release(a)
	op, _ := st.ending(g, a, &controlplane.Result{TaskID: a.TaskID, Attempt: a.Attempt, Status: controlplane.TaskFailed})
	g.Add(op, st.checked("give up", nil))
}

// noProgress is the outcome of an attempt that was stopped for want of progress.
func (a *attempt) noProgress(res *controlplane.Result) *controlplane.Result {
	return &controlplane.Result{TaskID: res.TaskID, Attempt: res.Attempt, Status: controlplane.TaskFailed, LogTail: res.LogTail,
		Error: "NO_PROGRESS: it has reported no progress for its no_progress_timeout of " + a.course.timeout.String()}
}
