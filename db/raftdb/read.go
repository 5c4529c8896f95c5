package raftdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

const (
	// leaderWait is how long a read waits for a leader if its context has no deadline.
	leaderWait = 5 * time.Second
	// maxRead bounds a read, since checkpoints wait for it.
	maxRead = 5 * time.Second
)

// Read implements db.Engine.
func (e *Engine) Read(ctx context.Context, opts db.ReadOptions, fn func(db.Conn) error) (uint64, error) {
	if opts.Short && !opts.Guarded {
		return e.readShort(ctx, opts, fn)
	}
	ctx, done := withUntil(ctx, opts)
	defer done()
	if err := e.freshen(ctx, opts); err != nil {
		return 0, err
	}
	if ctx.Done() != nil || opts.MaxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cmp.Or(min(opts.MaxTime, maxRead), maxRead))
		defer cancel()
	}
	e.fsm.mu.RLock()
	defer e.fsm.mu.RUnlock()
	from := e.fsm.state.readers
	if opts.Guarded {
		from = e.fsm.state.guarded
	}
	r, err := from.get(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return 0, from.busy()
	}
	if err != nil {
		return 0, err
	}
	defer from.put(r)
	defer r.end()
	index, err := r.begin()
	if err != nil {
		return 0, err
	}
	if ctx.Done() != nil {
		r.conn.SetInterrupt(ctx.Done())
	}
	return index, deadline(ctx, fn(r))
}

// withUntil is a context that ends when the read is given up.
func withUntil(ctx context.Context, opts db.ReadOptions) (context.Context, context.CancelFunc) {
	if opts.Until.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, opts.Until)
}

// deadline makes an error that follows from the end of ctx one that says so.
func deadline(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return ended(ctx.Err())
}

// ended is the error of a read whose context ended by this one.
func ended(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return controlplane.Errorf(controlplane.CodeDeadline, "the read did not end in the time allowed: narrow it, or allow more time")
	}
	return err
}

// freshen waits until this member's state is as fresh as the read asks.
func (e *Engine) freshen(ctx context.Context, opts db.ReadOptions) error {
	index := opts.MinIndex
	if opts.Level == db.Linearizable {
		if err := e.removal.err(); err != nil {
			return err
		}
		read, err := e.readIndex(ctx)
		if err != nil {
			return err
		}
		index = max(index, read)
	} else if err := e.checkStaleness(opts.MaxStaleness); err != nil {
		return err
	}
	if err := e.fsm.applied.await(ctx, index); err != nil {
		return controlplane.Errorf(controlplane.CodeDeadline, "this member has applied index %d and not yet %d: try again, or ask another member", e.AppliedIndex(), index)
	}
	return nil
}

func (e *Engine) checkStaleness(limit time.Duration) error {
	if limit <= 0 || e.leader.serving() != nil {
		return nil
	}
	if last := e.raft.LastContact(); time.Since(last) > limit {
		return controlplane.Errorf(controlplane.CodeUnavailable, "this member has not heard from a leader for longer than %s: ask another member", limit)
	}
	return nil
}

// readIndex returns an index at or above that of everything acknowledged before
// the call. It waits for a leader.
func (e *Engine) readIndex(ctx context.Context) (uint64, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, leaderWait)
		defer cancel()
	}
	for {
		index, err := e.tryReadIndex(ctx)
		if err == nil {
			return index, nil
		}
		if removed := e.removal.err(); removed != nil {
			return 0, removed // nobody will tell any more
		}
		_, changed := e.leader.now()
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		case <-e.failed:
			return 0, e.failure
		case <-ctx.Done():
			if controlplane.CodeOf(err) == controlplane.CodeInternal {
				err = errNoLeaderAsked
			}
			return 0, err
		}
	}
}

func (e *Engine) tryReadIndex(ctx context.Context) (uint64, error) {
	if ask := e.asks(); ask != nil {
		return ask.do(ctx)
	}
	return 0, controlplane.Errorf(controlplane.CodeUnavailable, "no leader is known: an election may be under way; try again")
}

var errNoLeaderAsked = controlplane.Errorf(controlplane.CodeUnavailable, "no leader could be asked how fresh the state is: try again, or read with consistency STALE")

// asks is how this member learns how fresh the state must be now; nil if no leader is known.
func (e *Engine) asks() *coalescer {
	if e.leader.serving() != nil {
		return e.confirm
	}
	if _, self, ok := e.Leader(); ok && !self {
		return e.index
	}
	return nil
}

// leadsAlone returns this leader's applied index, and whether it is certain without asking
// anybody that no other member led when the call began: it is the only voter.
func (e *Engine) leadsAlone(s *span) (index uint64, certain bool) {
	index = e.fsm.applied.load()
	voters := e.voters()
	return index, s != nil && len(voters) == 1 && voters[0].ID == e.self.serverID() && e.leader.serving() == s
}

// confirmLeadership returns this leader's applied index, once it is certain that no
// other member led when the call began: a majority says, to requests sent
// since, that it knows of no later term. Raft's own VerifyLeader also counts
// answers that were under way before, which a leader that was stopped for a while
// finds in its buffers.
func (e *Engine) confirmLeadership() (uint64, error) {
	s := e.leader.serving()
	if s == nil {
		return 0, e.notLeading()
	}
	index, alone := e.leadsAlone(s)
	if e.short.alone.Store(alone); alone {
		return index, nil
	}
	voters := e.voters()
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.Timing.Heartbeat)
	defer cancel()
	answers := make(chan bool, len(voters))
	need, asked := len(voters)/2+1, 0
	for _, v := range voters {
		if v.ID == e.self.serverID() {
			need--
			continue
		}
		asked++
		go func() {
			var a termAnswer
			err := e.peers.call(ctx, string(v.Address), http.MethodPost, "/raft/term", nil, &a)
			answers <- err == nil && a.ID == string(v.ID) && a.Term <= s.term
		}()
	}
	for ; need > 0 && asked > 0; asked-- {
		if <-answers {
			need--
		}
	}
	if need > 0 {
		return 0, controlplane.Errorf(controlplane.CodeUnavailable, "a majority of members does not confirm this leader: try again")
	}
	if e.leader.serving() != s {
		return 0, e.notLeading()
	}
	return index, nil
}

func (e *Engine) voters() []raft.Server {
	var voters []raft.Server
	for _, s := range e.servers() {
		if s.Suffrage == raft.Voter {
			voters = append(voters, s)
		}
	}
	return voters
}

func (e *Engine) servers() []raft.Server {
	f := e.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// askReadIndex asks the leader.
func (e *Engine) askReadIndex() (uint64, error) {
	address, self, ok := e.Leader()
	if !ok || self {
		return 0, controlplane.Errorf(controlplane.CodeUnavailable, "no leader is known: try again")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*e.cfg.Timing.Heartbeat)
	defer cancel()
	var a indexAnswer
	if err := e.peers.call(ctx, address, http.MethodPost, "/raft/read-index", nil, &a); err != nil {
		return 0, fmt.Errorf("ask the leader at %s: %w", address, err)
	}
	return a.Index, nil
}

// AppliedIndex implements db.Engine.
func (e *Engine) AppliedIndex() uint64 { return e.fsm.applied.load() }

// AwaitApplied implements db.Engine.
func (e *Engine) AwaitApplied(ctx context.Context, index uint64) error {
	return e.fsm.applied.await(ctx, index)
}
