package scheduler

import (
	"context"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// headsAtOnce is how many pending tasks of a stream are read at a time.
const headsAtOnce = 256

// What came in this term is kept in memory, about headsKept tasks (20 MB): the others are
// read again, from all over the table, which is a tenth of what a placement costs. A stream
// keeps at least minHeads whatever their number, and at most maxHeads, since one of a
// higher priority is put before others.
const (
	headsKept = 1 << 17
	minHeads  = 512
	maxHeads  = 1024
)

func (st *state) headsOfStream() int { return min(max(headsKept/len(st.streams), minHeads), maxHeads) }

// stream is the pending tasks of one queue, class and concurrency, by priority and
// then age: the first of them in memory, the rest behind them in the state, and those
// that enter with the present group beside them. In a queue with ageing, where that is
// not the order, each priority has a stream of its own.
type stream struct {
	key   db.Stream
	queue *queue
	class *class
	// heads are all pending tasks up to last.
	heads []db.Head
	last  place
	// eof is set when nothing is behind heads.
	eof     bool
	fresh   []*db.Submission
	freshMs int64 // when those enter
	isUsed  bool
	// moved is when a task of it was last placed, or it began.
	moved time.Time
}

// place is where a task stands in the order of placement.
type place struct {
	priority int32
	seq      int64
	createMs int64 // says what seq says, in time
}

func (p place) before(o place) bool {
	if p.priority != o.priority {
		return p.priority > o.priority
	}
	return p.seq < o.seq
}

func placeOf(h db.Head) place { return place{h.Priority, h.Seq, h.CreateMs} }

// fold is the key under which a task's stream is kept.
func (st *state) fold(k db.Stream) db.Stream {
	if q := st.queues[k.Queue]; q == nil || q.AgeingInterval == 0 {
		k.Priority = db.AnyPriority
	}
	return k
}

// stream returns the stream of a key; a new one is empty.
func (st *state) stream(k db.Stream) *stream {
	k = st.fold(k)
	s := st.streams[k]
	if s == nil {
		q := st.queue(k.Queue)
		c := st.class(k.ClassID, q.Placement)
		s = &stream{key: k, queue: q, class: c, eof: true, moved: st.now()}
		s.queue.streams++
		st.streams[k] = s
		c.streams[s], c.awake[s] = struct{}{}, struct{}{}
		st.busy[c] = struct{}{}
	}
	return s
}

// retire forgets a stream that has come to its end.
func (st *state) retire(s *stream) {
	if !s.eof || len(s.heads) > 0 || len(s.fresh) > 0 {
		return
	}
	delete(st.streams, s.key)
	delete(s.class.streams, s)
	delete(s.class.awake, s)
	if list := st.asleep[s.key.Key]; len(list) > 1 || len(list) == 1 && list[0] != s {
		st.asleep[s.key.Key] = slices.DeleteFunc(list, func(o *stream) bool { return o == s })
	} else {
		delete(st.asleep, s.key.Key)
	}
	s.queue.streams--
	st.forget(s.queue)
	if len(s.class.streams) == 0 {
		delete(st.busy, s.class)
	}
}

// use notes that the group in the making touches the stream.
func (st *state) use(s *stream) {
	if !s.isUsed {
		s.isUsed = true
		st.used = append(st.used, s)
	}
}

// rewind makes the stream be read from its beginning: something was put where
// memory does not reach. Only when nothing is in flight.
func (s *stream) rewind() {
	s.heads, s.eof, s.last = nil, false, place{priority: math.MaxInt32}
}

// noteQueued takes in the group's submissions that were stored as pending.
func (st *state) noteQueued(g *db.Group) {
	for _, sub := range g.Submissions {
		if sub.Stored {
			st.expect(sub.DeadlineMs(g.Now), g.Now)
		}
		switch {
		case !sub.Stored || sub.Task.Status != controlplane.TaskPending:
		case !sub.Task.RetryTime.IsZero():
			wait := time.Duration(sub.Task.RetryTime.UnixMilli()-g.Now) * time.Millisecond
			st.retries.add(retry{seq: sub.Task.Seq, stream: db.StreamOf(sub.Task), due: st.at.Add(wait)}) // not from now: the commit took a while
		default:
			if st.stream(db.StreamOf(sub.Task)).insert(headOf(sub, g), st.headsOfStream()) {
				st.works.keep(sub)
			}
		}
	}
}

// insert takes in a pending task, and reports whether it has its turn soon. The stream
// keeps at most so many.
func (s *stream) insert(h db.Head, most int) bool {
	if !s.eof && !placeOf(h).before(s.last) {
		return false // it is behind what is in memory, in the state
	}
	i := sort.Search(len(s.heads), func(i int) bool { return placeOf(h).before(placeOf(s.heads[i])) })
	s.heads = slices.Insert(s.heads, i, h)
	if len(s.heads) > most {
		s.heads, s.eof = slices.Clone(s.heads[:most/2]), false
		s.last = placeOf(s.heads[most/2-1])
		return i < most/2
	}
	return true
}

// take removes a task that is in memory.
func (s *stream) take(p place) (h db.Head, ok bool) {
	i := sort.Search(len(s.heads), func(i int) bool { return !placeOf(s.heads[i]).before(p) })
	if i == len(s.heads) || s.heads[i].Seq != p.seq {
		return db.Head{}, false
	}
	h = s.heads[i]
	s.heads = slices.Delete(s.heads, i, i+1)
	return h, true
}

func headOf(sub *db.Submission, g *db.Group) db.Head {
	t := sub.Task
	return db.Head{Seq: t.Seq, TaskID: t.ID, Priority: t.Priority, CreateMs: g.Now, RetryPolicy: sub.RetryPolicy(), MaxAttempts: t.MaxAttempts, MaxLostAttempts: t.MaxLostAttempts}
}

// fill reports whether the stream has a head, reading on if need be.
func (s *stream) fill(st *state) bool {
	for len(s.heads) == 0 && !s.eof {
		if err := s.read(st); err != nil {
			st.s.log.Error("cannot read pending tasks: they wait", "queue", s.key.Queue, "error", err)
			return false
		}
	}
	return len(s.heads) > 0 || len(s.fresh) > 0
}

// read reads on behind last.
func (s *stream) read(st *state) error {
	var heads []db.Head
	err := st.read(context.Background(), func(c db.Conn) (err error) {
		heads, err = db.Heads(c, s.key, s.last.priority, s.last.seq, headsAtOnce)
		return err
	})
	if err != nil {
		return err
	}
	st.use(s)
	s.eof = len(heads) < headsAtOnce
	if len(heads) > 0 {
		s.last = placeOf(heads[len(heads)-1])
	}
	s.heads = slices.DeleteFunc(heads, func(h db.Head) bool {
		_, gone := st.gone[h.Seq]
		return gone
	})
	return nil
}

// first returns the place of the head.
func (s *stream) first() place {
	if s.freshFirst() {
		t := s.fresh[0].Task
		return place{t.Priority, t.Seq, s.freshMs}
	}
	return placeOf(s.heads[0])
}

// freshFirst reports whether the head enters with this group.
func (s *stream) freshFirst() bool {
	return len(s.heads) == 0 || len(s.fresh) > 0 && s.fresh[0].Task.Priority > s.heads[0].Priority
}

// pop takes the head; sub is set if it enters with this group.
func (s *stream) pop(g *db.Group) (sub *db.Submission, head db.Head) {
	if s.freshFirst() {
		sub = s.fresh[0]
		s.fresh = s.fresh[1:]
		return sub, headOf(sub, g)
	}
	head = s.heads[0]
	s.heads = s.heads[1:]
	return nil, head
}
