package scheduler

import (
	"context"
	"time"

	"github.com/raft-control-plane/control-plane/db"
)

// overdueAtOnce is how many tasks a group ends that have waited too long.
const overdueAtOnce = 256

// expect has tasks looked at when a deadline of one has passed; 0 is none.
func (st *state) expect(deadlineMs, nowMs int64) {
	if deadlineMs == 0 {
		return
	}
	due := st.at.Add(time.Duration(deadlineMs-nowMs) * time.Millisecond)
	if st.deadline.IsZero() || due.Before(st.deadline) {
		st.deadline = due
	}
}

func (st *state) isOverdue(now time.Time) bool {
	return !st.deadline.IsZero() && !now.Before(st.deadline)
}

// timeOut ends the tasks that have waited too long for their first start. Only their
// next deadline is in memory: the state has them in order, and most start in time.
func (st *state) timeOut(g *db.Group, now time.Time) {
	var overdue []db.Overdue
	var next int64
	wall := st.wallMs()
	err := st.read(context.Background(), func(c db.Conn) (err error) {
		if overdue, err = db.OverdueTasks(c, wall, overdueAtOnce); err == nil {
			next, err = db.NextDeadline(c, wall)
		}
		return err
	})
	if err != nil {
		st.s.log.Error("cannot read the tasks that have waited too long: they wait on", "error", err)
		return // and looks again
	}
	for _, o := range overdue {
		st.drop(o)
		g.Add(db.QueueTimeoutOp(o, wall, g.Now), nil) // 0 rows: this group has cancelled it
	}
	switch {
	case len(overdue) == overdueAtOnce:
		st.deadline = now
	case next > 0:
		st.deadline = now.Add(time.Duration(next-wall) * time.Millisecond)
	default:
		st.deadline = time.Time{}
	}
}

// drop takes a pending task that ends with this group out of its stream.
func (st *state) drop(o db.Overdue) {
	st.works.forget(o.Seq)
	if s := st.streams[st.fold(o.Stream)]; s != nil {
		if _, ok := s.take(place{priority: o.Stream.Priority, seq: o.Seq}); ok {
			st.use(s)
			return
		}
	}
	st.gone[o.Seq] = struct{}{}
}
