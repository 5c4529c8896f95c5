package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Headers of the contract.
const (
	// appliedHeader is on every response: the log index that the answer reflects.
	appliedHeader = "Control-Plane-Applied-Index"
	// minIndexHeader asks a read to reflect at least this index.
	minIndexHeader = "Control-Plane-Min-Index"
)

// edge is the interceptor around every handler of the contract: it translates
// errors, stamps the applied index and counts.
type edge struct{ s *server }

// WrapUnary implements connect.Interceptor.
func (e edge) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		begun := time.Now()
		res, err := next(ctx, req)
		if err != nil {
			err = e.failed(ctx, req.Spec().Procedure, err)
		} else {
			e.stamp(ctx, res.Header())
		}
		e.s.metrics.observe(req.Spec().Procedure, err, time.Since(begun))
		return res, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (e edge) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		begun := time.Now()
		e.stamp(ctx, conn.ResponseHeader())
		err := next(ctx, conn)
		if err != nil {
			err = e.failed(ctx, conn.Spec().Procedure, err)
		}
		e.s.metrics.observe(conn.Spec().Procedure, err, time.Since(begun))
		return err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (e edge) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (e edge) failed(ctx context.Context, procedure string, err error) error {
	ce := e.s.connectError(procedure, err)
	e.stamp(ctx, ce.Meta())
	return ce
}

// stamp says which index the answer reflects, unless the leader that answered a
// forwarded call or the handler has said so: its index may be ahead of this member's.
// It stands in the header that is written first, in place of what withWriter put
// there, and only there.
func (e edge) stamp(ctx context.Context, h http.Header) {
	index := h.Get(appliedHeader)
	if index == "" {
		index = strconv.FormatUint(e.s.engine.AppliedIndex(), 10)
	}
	h.Del(appliedHeader)
	if first := responseHeader(ctx); first != nil {
		h = first
	}
	h.Set(appliedHeader, index)
}

// reader is a request that says how fresh its answer must be.
type reader interface {
	GetConsistency() v1.Consistency
	GetMinIndex() uint64
	GetMaxStaleness() *durationpb.Duration
}

// readOptions says how fresh a read must be.
func readOptions(h http.Header, r reader) (db.ReadOptions, error) {
	opts := db.ReadOptions{MinIndex: r.GetMinIndex(), MaxStaleness: r.GetMaxStaleness().AsDuration()}
	if r.GetConsistency() == v1.Consistency_CONSISTENCY_STALE {
		opts.Level = db.Stale
	} else if r.GetMaxStaleness() != nil {
		return opts, controlplane.FieldErrorf("max_staleness", "is for reads with consistency STALE: others are never stale; leave it out, or read with CONSISTENCY_STALE")
	}
	if text := h.Get(minIndexHeader); text != "" {
		index, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return opts, controlplane.FieldErrorf("header "+minIndexHeader, "%.40q is no log index: send what a response said in %s", text, appliedHeader)
		}
		opts.MinIndex = max(opts.MinIndex, index)
	}
	return opts, nil
}

// read runs a read that may have to wait for a leader, for the tables of a
// cluster that is being formed, or for this member to catch up.
func (s *server) read(ctx context.Context, h http.Header, r reader, fn func(ctx context.Context, opts db.ReadOptions) error) error {
	opts, err := readOptions(h, r)
	if err != nil {
		return err
	}
	return s.readAs(ctx, opts, fn)
}

// readAs is read with options that are known.
func (s *server) readAs(ctx context.Context, opts db.ReadOptions, fn func(ctx context.Context, opts db.ReadOptions) error) error {
	w := newWait(ctx)
	defer w.end()
	if !s.schema.Load() {
		if err := s.awaitSchema(w.context()); err != nil {
			return err
		}
	}
	opts.Until = w.until
	for {
		err := fn(ctx, opts)
		if opts.Level == db.Stale || controlplane.CodeOf(err) != controlplane.CodeUnavailable {
			return s.explain(w, opts, err)
		}
		if s.engine.AwaitLeader(w.context()) != nil || !w.pause() {
			return s.explain(w, opts, err)
		}
	}
}

// awaitSchema waits until this member's state has its tables, which the first
// leader makes.
func (s *server) awaitSchema(ctx context.Context) error {
	for !s.schema.Load() {
		applied := s.engine.AppliedIndex()
		there, err := s.Tasks.HasSchema(ctx)
		if err != nil {
			return err
		}
		if there {
			s.schema.Store(true)
			return nil
		}
		if err := s.engine.AwaitApplied(ctx, applied+1); err != nil {
			return &controlplane.Error{Code: controlplane.CodeUnavailable, RetryAfter: time.Second,
				Message: "this member has no state yet: its cluster is still being formed, or it has not joined it; see /readyz"}
		}
	}
	return nil
}

// wait is the time in which a call waits for a leader: until shortly before its
// deadline, so that the answer still arrives, or defaultWait if it has none.
type wait struct {
	outer  context.Context
	until  time.Time
	inner  context.Context // made when it is needed: most calls find a leader and wait for none
	cancel context.CancelFunc
	tries  int
}

func newWait(ctx context.Context) *wait {
	return &wait{outer: ctx, until: inTime(ctx, defaultWait), cancel: func() {}}
}

// context ends when the time to wait is over.
func (w *wait) context() context.Context {
	if w.inner == nil {
		w.inner, w.cancel = context.WithDeadline(w.outer, w.until)
	}
	return w.inner
}

// end frees what context made.
func (w *wait) end() { w.cancel() }

// inTime is shortly before ctx ends, so that the answer still arrives, or after usual if
// ctx has no deadline.
func inTime(ctx context.Context, usual time.Duration) time.Time {
	end, ok := ctx.Deadline()
	if !ok {
		return time.Now().Add(usual)
	}
	return end.Add(-min(100*time.Millisecond, time.Until(end)/10))
}

// pause waits a little, longer each time; false if the time is over.
func (w *wait) pause() bool {
	t := time.NewTimer(min(10*time.Millisecond<<min(w.tries, 5), 200*time.Millisecond))
	defer t.Stop()
	w.tries++
	select {
	case <-t.C:
		return true
	case <-w.context().Done():
		return false
	}
}

// explain says what a read waited for in vain, where the caller set no time.
func (s *server) explain(w *wait, opts db.ReadOptions, err error) error {
	if err == nil || w.context().Err() == nil || w.outer.Err() != nil {
		return err
	}
	if !errors.Is(err, context.DeadlineExceeded) && controlplane.CodeOf(err) != controlplane.CodeDeadline {
		return err
	}
	if applied := s.engine.AppliedIndex(); opts.MinIndex > applied {
		return &controlplane.Error{Code: controlplane.CodeUnavailable, RetryAfter: time.Second,
			Message: fmt.Sprintf("this member has applied index %d and not yet %d, which was asked for: try again, or ask another member", applied, opts.MinIndex)}
	}
	return noLeader()
}

func noLeader() error {
	return &controlplane.Error{Code: controlplane.CodeUnavailable, RetryAfter: time.Second,
		Message: "no leader was reached in the time allowed, nothing was changed: see whether a majority of the members runs and reaches each other, then try again"}
}
