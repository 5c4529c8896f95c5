package client

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
)

// outcome is what a failed attempt means for the call.
type outcome int

const (
	// refused: an answer that another attempt would not change.
	refused outcome = iota
	// notProcessed: the state was certainly not changed; another server may do.
	notProcessed
	// unknown: the call may or may not have been processed.
	unknown
	// throttled: not processed, and the server said when to come again.
	throttled
)

type verdict struct {
	outcome outcome
	// answered: the server itself gave this error.
	answered   bool
	retryAfter time.Duration
}

// judge tells what the error of an attempt means.
func judge(err error) verdict {
	var failure *connect.Error
	if !errors.As(err, &failure) {
		return verdict{outcome: refused}
	}
	if connect.IsWireError(err) {
		return judgeAnswer(failure)
	}
	return judgeFailure(failure)
}

// judgeAnswer judges an error that the server sent.
func judgeAnswer(err *connect.Error) verdict {
	v := verdict{answered: true}
	switch err.Code() {
	case connect.CodeUnavailable:
		v.outcome = notProcessed
	case connect.CodeAborted:
		v.outcome = unknown
	case connect.CodeCanceled:
		// The call's own context would have ended the attempt on this side, so
		// the server is shutting down.
		v.outcome = unknown
	case connect.CodeResourceExhausted:
		if after, ok := retryDelay(err); ok {
			v.outcome, v.retryAfter = throttled, after
		}
	default:
		v.outcome = refused
	}
	return v
}

// judgeFailure judges an error that arose on this side.
func judgeFailure(err *connect.Error) verdict {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return verdict{outcome: refused}
	}
	if _, ok := errors.AsType[*dialError](err); ok {
		return verdict{outcome: notProcessed}
	}
	if _, ok := errors.AsType[*transportError](err); ok {
		return verdict{outcome: unknown}
	}
	switch err.Code() {
	case connect.CodeUnavailable:
		// A proxy answered for a server that it could not reach.
		return verdict{outcome: unknown, answered: true}
	case connect.CodeCanceled, connect.CodeDeadlineExceeded:
		return verdict{outcome: unknown}
	default:
		return verdict{outcome: refused, answered: true}
	}
}

// retryDelay reads how long the server asks to wait. An exhausted limit without
// it, such as a message that is too large, is not worth another attempt.
func retryDelay(err *connect.Error) (time.Duration, bool) {
	for _, d := range err.Details() {
		value, bad := d.Value()
		if bad != nil {
			continue
		}
		if info, ok := value.(*errdetails.RetryInfo); ok {
			return max(info.GetRetryDelay().AsDuration(), backoffMin), true
		}
	}
	return 0, false
}

// contextError is the error of a context that has ended, with its code.
func contextError(ctx context.Context) error {
	code := connect.CodeCanceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code = connect.CodeDeadlineExceeded
	}
	return connect.NewError(code, ctx.Err())
}
