package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// cycle has callers submit and slots work, each as fast as it can: a cycle is over when it
// is recorded that its task is done.
func (r *run) cycle(ctx context.Context) (Result, error) {
	queue := r.queue + "-cycle"
	if err := r.Target.Open(ctx, queue); err != nil {
		return Result{}, err
	}
	var submitted atomic.Int64
	room := make(chan struct{}, 4*r.Slots) // what may wait for a slot
	stop, err := r.Target.Work(ctx, queue, r.Slots, func([]byte) {
		select {
		case <-room:
		default: // it is run for a second time
		}
	})
	if err != nil {
		return Result{}, err
	}
	res, err := r.closed(ctx, "cycle", r.Callers, 1, func(ctx context.Context) error {
		select {
		case room <- struct{}{}:
		case <-overOf(ctx):
			return errOver
		case <-ctx.Done():
			return ctx.Err()
		}
		err := r.Target.Submit(ctx, queue, r.payload)
		if err == nil {
			submitted.Add(1)
		}
		return err
	})
	if err == nil {
		err = r.awaitRecorded(ctx, queue, submitted.Load())
	}
	return res, firstError(err, stop())
}

// errOver ends a caller when its phase is over.
var errOver = fmt.Errorf("the phase is over")

// recordTimeout is how long what was submitted may take until it is recorded as done,
// when nothing else is going on any more.
const recordTimeout = 20 * time.Second

// awaitRecorded holds the state against what was submitted: all of it is done.
func (r *run) awaitRecorded(ctx context.Context, queue string, submitted int64) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	for {
		done, err := r.Target.Recorded(ctx, queue)
		if err == nil && done >= submitted {
			return nil
		}
		if late := sleepUntil(ctx, time.Now().Add(20*time.Millisecond)); late != nil {
			return firstError(err, fmt.Errorf("%d tasks were submitted, %d are recorded as done after %s", submitted, done, recordTimeout))
		}
	}
}

// dispatch measures from when a submission was due to when its task runs.
func (r *run) dispatch(ctx context.Context) (Result, error) {
	queue := r.queue + "-dispatch"
	if err := r.Target.Open(ctx, queue); err != nil {
		return Result{}, err
	}
	m := newMeter(r.ServerCPU)
	base := time.Now()
	stop, err := r.Target.Work(ctx, queue, r.Slots, func(payload []byte) {
		due, err := strconv.ParseInt(strings.Trim(string(payload), `" `), 10, 64)
		if err != nil {
			m.failed()
			return
		}
		m.record(time.Since(base)-time.Duration(due), 1)
	})
	if err != nil {
		return Result{}, err
	}
	clock, err := newAlarm()
	if err != nil {
		return Result{}, firstError(err, stop())
	}
	defer clock.close() //nolint:errcheck // nothing was written to it
	m.begin()
	var calls sync.WaitGroup
	interval := time.Second / time.Duration(r.Rate)
	for due := time.Since(base); time.Since(m.begun) < r.Duration; due += interval {
		if err := clock.sleepUntil(ctx, base.Add(due)); err != nil {
			return Result{}, firstError(err, stop())
		}
		calls.Go(func() {
			if err := r.Target.Submit(ctx, queue, r.stamped(due)); err != nil {
				m.failed()
			}
		})
	}
	m.end()
	calls.Wait()
	return m.result("dispatch", r.Rate), stop()
}

// stamped is a payload that says when it was due, as a JSON string of the usual length.
func (r *run) stamped(due time.Duration) []byte {
	return fmt.Appendf(nil, "\"%*d\"", max(1, r.Payload-2), int64(due))
}
