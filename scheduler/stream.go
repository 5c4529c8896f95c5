package scheduler

import (
	"context"
	"math"

	"github.com/raft-control-plane/control-plane/db"
)

// stream is the pending tasks of one queue and class, by priority and then age:
// a few of them in memory, the rest behind them in the state, and those that
// enter with the present group beside them.
type stream struct {
	key   db.Stream
	heads []db.Head
	// eof is set when nothing is behind heads.
	eof bool
	// last is the place of the last head read or taken.
	lastPriority int32
	lastSeq      int64
	fresh        []*db.Submission
}

// stream returns the stream of a key; a new one is read from its beginning.
func (st *state) stream(k db.Stream) *stream {
	s := st.streams[k]
	if s == nil {
		s = &stream{key: k}
		s.rewind()
		st.streams[k] = s
		st.order = append(st.order, s)
	}
	return s
}

// rewind makes the stream read from its beginning: some task was put before what
// is in memory. Only between passes, when nothing of it is in flight.
func (s *stream) rewind() {
	s.heads, s.eof = nil, false
	s.lastPriority, s.lastSeq = math.MaxInt32, 0
}

// append takes note of a task that was stored as PENDING.
func (s *stream) append(sub *db.Submission) {
	t := sub.Task
	switch {
	case t.Priority > s.lastPriority:
		s.rewind()
	case s.eof && len(s.heads) < headsAtOnce:
		s.heads = append(s.heads, headOf(sub))
		s.lastPriority, s.lastSeq = t.Priority, t.Seq
	default:
		s.eof = false // it is behind what is in memory, in the state
	}
}

func headOf(sub *db.Submission) db.Head {
	t := sub.Task
	return db.Head{Seq: t.Seq, TaskID: t.ID, Priority: t.Priority, MaxAttempts: t.MaxAttempts, MaxLostAttempts: t.MaxLostAttempts}
}

// fill reports whether the stream has a head, reading on if need be.
func (s *stream) fill(st *state) bool {
	s.skip(st)
	if len(s.heads) == 0 && !s.eof {
		s.read(st)
		s.skip(st)
	}
	return len(s.heads) > 0 || len(s.fresh) > 0
}

// skip drops heads that this group has cancelled.
func (s *stream) skip(st *state) {
	for len(s.heads) > 0 && st.cancelled[s.heads[0].TaskID] {
		s.heads = s.heads[1:]
	}
}

func (s *stream) read(st *state) {
	err := st.read(context.Background(), func(c db.Conn) (err error) {
		s.heads, err = db.Heads(c, s.key, s.lastPriority, s.lastSeq, headsAtOnce)
		return err
	})
	if err != nil {
		st.s.log.Error("cannot read pending tasks", "queue", s.key.Queue, "error", err)
		return
	}
	s.eof = len(s.heads) < headsAtOnce
	if n := len(s.heads); n > 0 {
		s.lastPriority, s.lastSeq = s.heads[n-1].Priority, s.heads[n-1].Seq
	}
}

// first returns the priority and key of the head.
func (s *stream) first() (priority int32, seq int64, fresh bool) {
	if len(s.heads) > 0 {
		h := s.heads[0]
		if len(s.fresh) == 0 || s.fresh[0].Task.Priority <= h.Priority {
			return h.Priority, h.Seq, false
		}
	}
	t := s.fresh[0].Task
	return t.Priority, t.Seq, true
}

// before reports whether the head of s comes before that of o.
func (s *stream) before(o *stream) bool {
	p, seq, _ := s.first()
	q, other, _ := o.first()
	if p != q {
		return p > q
	}
	return seq < other
}

// pop takes the head; sub is set if it enters with the present group.
func (s *stream) pop() (sub *db.Submission, head db.Head) {
	if _, _, fresh := s.first(); fresh {
		sub = s.fresh[0]
		s.fresh = s.fresh[1:]
		return sub, headOf(sub)
	}
	head = s.heads[0]
	s.heads = s.heads[1:]
	return nil, head
}
