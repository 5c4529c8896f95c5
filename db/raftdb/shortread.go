package raftdb

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// shortReads runs reads of a few rows by their keys on goroutines that stay. Each call has a
// goroutine of its own, whose stack would have to grow for SQLite, which is copied each time;
// that, a transaction, and what interrupts a long read cost more than such a read by itself.
// Here those that wait share a transaction.
type shortReads struct {
	e     *Engine
	queue chan *shortRead
}

// maxShared is how many reads share a transaction, in which none waits for long.
const maxShared = 32

// shortReaders is how many transactions there are at once, with a connection each: one does
// some 50,000 reads a second, and to ask for as many takes the processors of four.
func shortReaders() int { return max(1, min(4, runtime.GOMAXPROCS(0)/4)) }

// shortRead is a read that waits for its turn.
type shortRead struct {
	fn    func(db.Conn) error
	taken atomic.Bool // it runs, or nobody waits for it any more
	done  chan struct{}

	index    uint64
	err      error
	panicked any
}

func newShortReads(e *Engine) *shortReads {
	return &shortReads{e: e, queue: make(chan *shortRead, maxShared)}
}

// do is Engine.Read for a state that is fresh enough.
func (s *shortReads) do(ctx context.Context, fn func(db.Conn) error) (uint64, error) {
	r := &shortRead{fn: fn, done: make(chan struct{})}
	select {
	case s.queue <- r:
	case <-ctx.Done():
		return 0, deadline(ctx, ctx.Err())
	case <-s.e.closed:
		return 0, errMemberStops
	}
	var err error
	select {
	case <-r.done:
	case <-ctx.Done():
		err = deadline(ctx, ctx.Err())
	case <-s.e.closed:
		err = errMemberStops
	}
	if err != nil && r.taken.CompareAndSwap(false, true) {
		return 0, err
	}
	<-r.done // if it runs: what it writes to is its caller's
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.index, r.err
}

var errMemberStops = controlplane.Errorf(controlplane.CodeUnavailable, "this member is stopping: ask another one")

// run answers until ctx ends.
func (s *shortReads) run(ctx context.Context) {
	for {
		var batch []*shortRead
		select {
		case r := <-s.queue:
			batch = append(batch, r)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(batch) < maxShared; {
			select {
			case r := <-s.queue:
				batch = append(batch, r)
			default:
				more = false
			}
		}
		s.answer(ctx, batch)
	}
}

func (s *shortReads) answer(ctx context.Context, batch []*shortRead) {
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
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := p.get(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, p.busy()
	}
	return r, err
}
