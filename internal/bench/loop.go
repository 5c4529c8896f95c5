package bench

import (
	"context"
	"sync"
	"time"
)

// warmUp is not measured.
const warmUp = 500 * time.Millisecond

// closed runs callers that make one call after the other, for Duration, and until one of them is
// answered: with none a busy machine would seem to do nothing at all. What is under way at the
// end is waited for, and not counted.
func (r *run) closed(ctx context.Context, phase string, callers int, weight int64, op func(context.Context) error) (Result, error) {
	m := newMeter(r.ServerCPU)
	over := make(chan struct{})
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, overKey{}, (<-chan struct{})(over)))
	defer cancel(nil)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for ctx.Err() == nil && !isOver(ctx) {
				begun := time.Now()
				err := op(ctx)
				if err != nil && !isOver(ctx) {
					cancel(err) // the first one counts
					return
				}
				m.record(time.Since(begun), weight)
			}
		})
	}
	err := sleepUntil(ctx, time.Now().Add(warmUp))
	m.begin()
	err = firstError(err, sleepUntil(ctx, time.Now().Add(r.Duration)))
	select {
	case <-m.some:
	case <-ctx.Done(): // each call has a timeout
		err = ctx.Err()
	}
	m.end()
	close(over)
	all.Wait()
	if err != nil {
		return Result{}, context.Cause(ctx)
	}
	return m.result(phase, callers), nil
}

type overKey struct{}

// overOf is closed when the phase is over.
func overOf(ctx context.Context) <-chan struct{} {
	over, _ := ctx.Value(overKey{}).(<-chan struct{})
	return over
}

func isOver(ctx context.Context) bool {
	select {
	case <-overOf(ctx):
		return true
	default:
		return false
	}
}

func sleepUntil(ctx context.Context, at time.Time) error {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
