package raftdb

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/internal/gather"
)

// shortReads runs reads of a few rows by their keys on goroutines that stay. Each call has a
// goroutine of its own, whose stack would have to grow for SQLite, which is copied each time;
// that, a transaction, and what interrupts a long read cost more than such a read by itself.
// Here those that wait share a transaction.
type shortReads struct {
	e    *Engine
	wake chan struct{} // a token for each goroutine: there is something to read
	// alone says that this member was the only voter when that was last looked at.
	alone atomic.Bool

	mu      sync.Mutex
	waiting []*shortRead
	stopped bool
}

// maxShared is how many reads share a transaction, in which none waits for long.
const maxShared = 32

// shortReaders is how many transactions there are at once, with a connection each: one does
// some 50,000 reads a second, and to ask for as many takes the processors of four.
func shortReaders() int { return max(1, min(4, runtime.GOMAXPROCS(0)/4)) }

// shortRead is a read that waits for its turn.
type shortRead struct {
	fn       func(db.Conn) error
	minIndex uint64      // that it must show
	asking   atomic.Bool // it is not known yet how fresh the state must be
	ifAlone  bool        // it goes on if this member still leads and is the only voter
	taken    atomic.Bool // it runs, or nobody waits for it any more
	done     chan struct{}

	index    uint64
	err      error
	panicked any
}

func newShortReads(e *Engine) *shortReads {
	return &shortReads{e: e, wake: make(chan struct{}, shortReaders())}
}

var (
	errMemberStops = controlplane.Errorf(controlplane.CodeUnavailable, "this member is stopping: ask another one")

	// errNotConfirmed and errBehind end reads that their callers must ask for again: by then
	// another member may lead, and this one have applied what the read is to show.
	errNotConfirmed = errors.New("no leader says how fresh the state is")
	errBehind       = errors.New("this member has not applied the read's index yet")
)

// readShort is Read for short reads. How fresh the state must be is asked once for all that
// wait, which go on from there together: their callers wait for one thing, the rows. The only
// voter has nobody to ask, and sees that it leads when it takes them.
func (e *Engine) readShort(ctx context.Context, opts db.ReadOptions, fn func(db.Conn) error) (uint64, error) {
	if ask := e.asks(); ask != nil && opts.Level == db.Linearizable && e.removal.err() == nil {
		r := &shortRead{fn: fn, minIndex: opts.MinIndex, done: make(chan struct{})}
		if r.ifAlone = ask == e.confirm && e.short.alone.Load(); r.ifAlone {
			e.short.add(r)
		} else {
			r.asking.Store(true)
			ask.add(r)
		}
		index, err := r.await(ctx, opts.Until)
		switch {
		case errors.Is(err, errBehind):
			opts.Level, opts.MaxStaleness, opts.MinIndex = db.Stale, 0, index
		case !errors.Is(err, errNotConfirmed):
			return index, err
		}
	}
	if err := e.freshenInTime(ctx, opts); err != nil {
		return 0, err
	}
	r := &shortRead{fn: fn, done: make(chan struct{})}
	e.short.add(r)
	return r.await(ctx, opts.Until)
}

// freshenInTime is freshen that ends when the read is given up.
func (e *Engine) freshenInTime(ctx context.Context, opts db.ReadOptions) error {
	if opts.Level == db.Linearizable || opts.MinIndex > e.fsm.applied.load() { // else it does not wait
		var done context.CancelFunc
		ctx, done = withUntil(ctx, opts)
		defer done()
	}
	return e.freshen(ctx, opts)
}

// timers are used again, as each read has one.
var timers = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}

// await waits for the answer. If ctx ends before the read is taken, or its time, it is not
// run any more.
func (r *shortRead) await(ctx context.Context, until time.Time) (uint64, error) {
	var late <-chan time.Time
	if !until.IsZero() {
		t := timers.Get().(*time.Timer)
		t.Reset(time.Until(until))
		defer timers.Put(t)
		defer t.Stop()
		late = t.C
	}
	gone := error(nil)
	select {
	case <-r.done:
	case <-ctx.Done():
		gone = ctx.Err()
	case <-late:
		gone = context.DeadlineExceeded
	}
	if gone != nil {
		if r.taken.CompareAndSwap(false, true) {
			if r.asking.Load() {
				return 0, errNoLeaderAsked
			}
			return 0, ended(gone)
		}
		<-r.done // it runs: what it writes to is its caller's
	}
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.index, r.err
}

// end answers a read that is not run.
func (r *shortRead) end(index uint64, err error) {
	if r.taken.CompareAndSwap(false, true) {
		r.index, r.err = index, err
		close(r.done)
	}
}

// confirmed goes on with reads that must show what was acknowledged up to an index.
func (s *shortReads) confirmed(reads []*shortRead, index uint64, err error) {
	ready := reads[:0]
	for _, r := range reads {
		r.asking.Store(false)
		if s.goesOn(r, index, err == nil) {
			ready = append(ready, r)
		}
	}
	s.add(ready...)
}

// certain keeps of reads those that can go on, now that they are to: those that came to the
// only voter can if it still is, and leads.
func (s *shortReads) certain(reads []*shortRead) []*shortRead {
	if !slices.ContainsFunc(reads, func(r *shortRead) bool { return r.ifAlone }) {
		return reads
	}
	index, alone := s.e.leadsAlone(s.e.leader.serving())
	s.alone.Store(alone)
	ready := reads[:0]
	for _, r := range reads {
		if !r.ifAlone || s.goesOn(r, index, alone) {
			ready = append(ready, r)
		}
	}
	return ready
}

// goesOn reports whether a read can go on here, which is to show what was acknowledged up to
// an index if that is known, and ends it otherwise.
func (s *shortReads) goesOn(r *shortRead, index uint64, known bool) bool {
	needs := max(index, r.minIndex)
	switch {
	case !known:
		r.end(0, errNotConfirmed)
	case needs > s.e.fsm.applied.load():
		r.end(needs, errBehind)
	default:
		return true
	}
	return false
}

// add queues reads for which the state is fresh enough.
func (s *shortReads) add(reads ...*shortRead) {
	s.mu.Lock()
	stopped := s.stopped
	if !stopped {
		s.waiting = append(s.waiting, reads...)
	}
	s.mu.Unlock()
	if stopped {
		for _, r := range reads {
			r.end(0, errMemberStops)
		}
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run answers until ctx ends.
func (s *shortReads) run(ctx context.Context) {
	defer s.stop()
	var batch []*shortRead
	for ctx.Err() == nil {
		if batch = s.take(batch[:0]); len(batch) > 0 {
			s.answer(ctx, s.certain(batch))
			continue
		}
		select {
		case <-s.wake:
			gather.Settle(s.len)
		case <-ctx.Done():
		}
	}
}

func (s *shortReads) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// take appends those that share the next transaction.
func (s *shortReads) take(batch []*shortRead) []*shortRead {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.waiting), maxShared)
	batch = append(batch, s.waiting[:n]...)
	s.waiting = slices.Delete(s.waiting, 0, n)
	return batch
}

// stop ends the reads that wait, and those that come.
func (s *shortReads) stop() {
	s.mu.Lock()
	waiting := s.waiting
	s.waiting, s.stopped = nil, true
	s.mu.Unlock()
	for _, r := range waiting {
		r.end(0, errMemberStops)
	}
}

func (s *shortReads) answer(ctx context.Context, batch []*shortRead) {
	if len(batch) == 0 {
		return
	}
	s.e.fsm.mu.RLock()
	defer s.e.fsm.mu.RUnlock()
	from := s.e.fsm.state.readers
	conn, err := from.getWithin(ctx, maxRead)
	if err != nil && ctx.Err() != nil {
		err = errMemberStops
	}
	var index uint64
	if err == nil {
		defer from.put(conn)
		defer conn.end()
		index, err = conn.hold()
	}
	for _, r := range batch {
		if !r.taken.CompareAndSwap(false, true) {
			continue
		}
		if r.index, r.err = index, err; err == nil {
			r.run(conn)
		}
		close(r.done)
	}
}

// run calls fn. If that panics, it is its caller who does.
func (r *shortRead) run(conn *reader) {
	defer func() { r.panicked = recover() }()
	r.err = r.fn(conn)
}

// getWithin is get that waits for so long, if it must.
func (p *pool) getWithin(ctx context.Context, limit time.Duration) (*reader, error) {
	select { // a timer costs more than the rest
	case r := <-p.slots:
		return p.opened(r)
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := p.get(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, p.busy()
	}
	return r, err
}
