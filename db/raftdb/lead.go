package raftdb

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// leaderWatch knows whether this member leads and wakes those who wait for a
// change of leadership anywhere.
type leaderWatch struct {
	notify chan bool // from Raft, which blocks on it: always consumed

	mu      sync.Mutex
	span    *span
	changed chan struct{}
}

// span is one leadership of this member.
type span struct {
	term uint64
	done chan struct{}
	// serves is set once an entry of this term is applied here: all that earlier
	// leaders committed is then applied as well.
	serves bool
}

func newLeaderWatch() *leaderWatch {
	return &leaderWatch{notify: make(chan bool, 16), changed: make(chan struct{})}
}

// watchLeadership follows Raft until ctx ends.
func (e *Engine) watchLeadership(ctx context.Context) {
	observed := make(chan raft.Observation, 64)
	observer := raft.NewObserver(observed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	e.raft.RegisterObserver(observer)
	defer e.raft.DeregisterObserver(observer)
	for {
		select {
		case leads := <-e.leader.notify:
			e.leader.set(leads, e.raft.CurrentTerm())
		case <-observed:
			e.leader.wake()
		case <-ctx.Done():
			return
		}
	}
}

func (w *leaderWatch) set(leads bool, term uint64) {
	w.mu.Lock()
	if w.span != nil {
		close(w.span.done)
		w.span = nil
	}
	if leads {
		w.span = &span{term: term, done: make(chan struct{})}
	}
	w.mu.Unlock()
	w.wake()
}

func (w *leaderWatch) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *leaderWatch) close() { w.set(false, 0) }

// now returns the present leadership, nil if there is none, and what is closed at
// the next change.
func (w *leaderWatch) now() (*span, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.span, w.changed
}

// serving returns the present leadership if it serves.
func (w *leaderWatch) serving() *span {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.span != nil && w.span.serves {
		return w.span
	}
	return nil
}

func (w *leaderWatch) serve(s *span) {
	w.mu.Lock()
	s.serves = true
	w.mu.Unlock()
	w.wake()
}

// AwaitLeadership implements db.Engine.
func (e *Engine) AwaitLeadership(ctx context.Context) (db.Term, error) {
	for {
		s, changed := e.leader.now()
		if s != nil {
			if err := e.begin(ctx, s); err == nil {
				return db.Term{Number: s.term, Done: s.done, ClockMs: e.clockMs()}, nil
			}
			changed = soon(changed)
		}
		select {
		case <-changed:
		case <-e.failed:
			return db.Term{}, e.failure
		case <-ctx.Done():
			return db.Term{}, ctx.Err()
		}
	}
}

// soon is closed with changed, or a little later than now.
func soon(changed <-chan struct{}) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		defer close(c)
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond):
		}
	}()
	return c
}

// begin commits the first entry of a leadership.
func (e *Engine) begin(ctx context.Context, s *span) error {
	id := e.fsm.cluster()
	if id == "" {
		id = randomID(8)
	}
	out, _, err := e.commit(ctx, envelope{kind: kindLead, term: s.term, body: []byte(id)})
	if err == nil {
		err = out.err
	}
	if err == nil {
		e.leader.serve(s)
	}
	return err
}

// clockMs is the highest stamp in the log. Only while nothing is in flight.
func (e *Engine) clockMs() (ms int64) {
	_, err := e.Read(context.Background(), db.ReadOptions{Level: db.Stale}, func(c db.Conn) error {
		r, err := c.Query("SELECT clock_ms FROM raft_state")
		if err != nil {
			return err
		}
		if r.Next() {
			ms = r.Int(0)
		}
		return r.Close()
	})
	if err != nil {
		e.log.Warn("cannot read the log's clock", "error", err)
	}
	return ms
}

// Apply implements db.Engine.
func (e *Engine) Apply(ctx context.Context, term db.Term, entry db.Encoded) (db.Applied, error) {
	if s := e.leader.serving(); s == nil || s.term != term.Number {
		return db.Applied{}, e.notLeading()
	}
	env, release := pack(term.Number, entry.Bytes)
	data := env.seal()
	release()
	out, index, err := e.commitData(ctx, term.Number, data, &entry)
	if err != nil {
		return db.Applied{}, err
	}
	if errors.Is(out.err, errStaleTerm) {
		return db.Applied{}, e.notLeading()
	}
	return db.Applied{Index: index, Results: out.results, Took: out.took}, out.err
}

func (e *Engine) notLeading() error {
	address, _, _ := e.Leader()
	return &controlplane.Error{Code: controlplane.CodeUnavailable, Leader: address, Message: "this member does not lead: ask the leader"}
}

// enqueueTimeout bounds the wait until Raft takes an entry.
const enqueueTimeout = 5 * time.Second

func (e *Engine) commit(ctx context.Context, env envelope) (outcome, uint64, error) {
	return e.commitData(ctx, env.term, env.seal(), nil)
}

// commitData has an envelope committed, and the entry in it, if there is one, run ahead of that.
func (e *Engine) commitData(ctx context.Context, term uint64, data []byte, entry *db.Encoded) (out outcome, index uint64, err error) {
	e.announcer.writing()
	next := e.fsm.applied.load() + 1
	future := e.raft.Apply(data, enqueueTimeout)
	if entry != nil {
		// Raft's goroutine begins with the log now, and this one goes on beside it: else the entry
		// would be synced after it is run, as long as no other thread is awake to take one of the two.
		runtime.Gosched()
		e.fsm.runAhead(next, term, data, entry.Entry())
		defer func() {
			if err != nil {
				e.fsm.forgetAhead()
			}
		}()
	}
	select {
	case err := <-wait(future.Error):
		if err != nil {
			return outcome{}, 0, e.commitError(err)
		}
		out, _ := future.Response().(outcome)
		if !errors.Is(out.err, errStaleTerm) {
			e.announcer.committed(future.Index(), term)
		}
		return out, future.Index(), nil
	case <-e.failed:
	case <-ctx.Done():
	}
	return outcome{}, 0, unknownOutcome()
}

func (e *Engine) commitError(err error) error {
	switch {
	case errors.Is(err, errLogFull):
		return diskLow("the leader's disk is full, so nothing was changed: " + err.Error())
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return e.notLeading()
	}
	e.log.Debug("a write is in doubt", "error", err)
	return unknownOutcome()
}

func unknownOutcome() error {
	return controlplane.Errorf(controlplane.CodeUnknownOutcome,
		"the leader was lost while the write was under way, so it may or may not take effect: repeat it with the same id, request_id or attempt")
}

// Leader implements db.Engine.
func (e *Engine) Leader() (address string, self, ok bool) {
	at, id := e.raft.LeaderWithID()
	return string(at), id == e.self.serverID(), at != ""
}

// AwaitLeader implements db.Engine.
func (e *Engine) AwaitLeader(ctx context.Context) error {
	for {
		_, changed := e.leader.now()
		if _, _, ok := e.Leader(); ok {
			return nil
		}
		if err := e.removal.err(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
