package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"
)

const (
	backoffMin = 50 * time.Millisecond
	backoffMax = 2 * time.Second
	// attemptMin is the least that an attempt is given when its share of the
	// deadline is less.
	attemptMin = time.Second
	// attemptWorth is what must be left for another attempt once a server has said why the
	// call fails: what is cut off says nothing, and may leave the outcome open.
	attemptWorth = 250 * time.Millisecond
)

// method says how one RPC is called.
type method struct {
	name string
	// repeatable: the outcome is the same however often it is processed.
	repeatable bool
	// wait is how long the server itself may wait before it answers.
	wait time.Duration
	// short: the server answers as soon as it can, so that the call may take a lane if it
	// is repeatable too.
	short bool
}

// unary is a method of a stub.
type unary[Req, Res any] func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error)

// call makes a unary call on one server after the other until one has answered,
// trying again is not safe, or the time is over.
func call[Req, Res any](ctx context.Context, c *Client, m method, req *Req, stub func(*server) unary[Req, Res]) (*Res, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.options.callTimeout+m.wait)
		defer cancel()
	}
	if m.short && m.repeatable && m.wait == 0 {
		ctx = withLane(ctx)
	}
	r := c.newRetry(m)
	for {
		index, srv := c.pick()
		res, err := attempt(ctx, c, m, srv, stub, req)
		if err == nil {
			return res, nil
		}
		if err := r.next(ctx, index, srv, err); err != nil {
			return nil, err
		}
	}
}

// attempt calls one server. With others to go on with, an attempt at a
// repeatable call gets only half of the time that is left, so that a member that
// hangs does not use up all of it.
func attempt[Req, Res any](ctx context.Context, c *Client, m method, srv *server, stub func(*server) unary[Req, Res], req *Req) (*Res, error) {
	if deadline, ok := ctx.Deadline(); ok && m.repeatable && len(c.servers) > 1 {
		share := (time.Until(deadline) - m.wait) / 2
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.wait+max(share, attemptMin))
		defer cancel()
	}
	res, err := stub(srv)(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, ownTimeout(ctx, err)
	}
	return res.Msg, nil
}

// ownTimeout makes an error of this side out of a server's answer that the time
// of the attempt, which the server was told, is over: the call may have more.
func ownTimeout(ctx context.Context, err error) error {
	const slack = 100 * time.Millisecond
	deadline, ok := ctx.Deadline()
	if ok && connect.CodeOf(err) == connect.CodeDeadlineExceeded && time.Until(deadline) < slack {
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	}
	return err
}

// retry follows one call over its attempts.
type retry struct {
	client *Client
	method method
	// heard is when a server last answered something, or when the call began.
	heard time.Time
	// answered: some server has answered something.
	answered bool
	// said is the error of a server that says most about why the call fails; nil if none
	// has sent one.
	said error
	// failed counts the attempts since the last pause or success.
	failed int
	round  int
}

func (c *Client) newRetry(m method) *retry {
	return &retry{client: c, method: m, heard: time.Now()}
}

// next decides after a failed attempt. It returns nil, after a pause if one is
// due, when the call is to be tried again, and the error to return otherwise.
func (r *retry) next(ctx context.Context, index int64, srv *server, err error) error {
	v := judge(err)
	if v.answered {
		r.answered, r.heard = true, time.Now()
	}
	if v.outcome == refused || r.client.options.once {
		return err
	}
	if v.answered && weight(err) >= weight(r.said) {
		r.said = err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return contextError(ctx)
	}
	if v.outcome != throttled {
		r.client.skip(index)
	}
	if v.outcome == unknown && !r.method.repeatable {
		r.said = nil // it speaks of an attempt before this one, which may have been processed
	}
	if ctx.Err() != nil {
		return r.giveUp(err)
	}
	if v.outcome == unknown && !r.method.repeatable {
		return err
	}
	if d := r.client.options.patience; d > 0 && time.Since(r.heard) >= d {
		return r.giveUp(err)
	}
	r.client.options.logger.Debug("call is tried again", "method", r.method.name, "server", srv.url, "error", err)
	return r.pause(ctx, v, err)
}

// pause waits before the next attempt, if every server has had its turn or the
// server asked for it.
func (r *retry) pause(ctx context.Context, v verdict, err error) error {
	r.failed++
	d := v.retryAfter
	if v.outcome != throttled {
		if r.failed < len(r.client.servers) {
			return nil
		}
		d = backoff(r.round)
	}
	r.failed = 0
	r.round++
	return r.sleep(ctx, d+jitter(d), err)
}

// sleep waits for d. It does not begin a wait that the deadline would cut short,
// and then returns err, which says more than that time is over.
func (r *retry) sleep(ctx context.Context, d time.Duration, err error) error {
	worth := time.Duration(0)
	if r.said != nil {
		worth = attemptWorth
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d+worth {
		return r.giveUp(err)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return contextError(ctx)
	}
}

// progressed starts the count anew, after a stream has delivered something.
func (r *retry) progressed() {
	r.heard, r.answered, r.said, r.failed, r.round = time.Now(), false, nil, 0, 0
}

// giveUp is the error of a call whose time is over: what a server has said of it before
// what went wrong on the way to others.
func (r *retry) giveUp(err error) error {
	switch {
	case r.said != nil:
		return r.said
	case r.answered:
		return err
	}
	return &UnreachableError{Servers: r.client.Servers(), Err: err}
}

// weight is how much an error says about why a call fails: an open outcome most, for what
// comes after it does not close it; a member that stops, and a proxy, least.
func weight(err error) int {
	switch {
	case err == nil:
		return 0
	case !connect.IsWireError(err):
		return 1
	}
	switch connect.CodeOf(err) {
	case connect.CodeCanceled:
		return 2
	case connect.CodeAborted:
		return 4
	default:
		return 3
	}
}

// backoff is the pause after so many rounds.
func backoff(round int) time.Duration {
	return min(backoffMin<<min(round, 10), backoffMax)
}

// jitter spreads callers that failed together by up to half of d.
func jitter(d time.Duration) time.Duration {
	return rand.N(d/2 + 1)
}
