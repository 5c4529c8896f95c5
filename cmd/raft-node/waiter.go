package main

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	// waiterCalls is how many tasks are asked for at once.
	waiterCalls = 16
	// waiterLook is how often tasks are asked for without having been told of, for
	// where no stream gets through; waiterLookMax of them.
	waiterLook    = 10 * time.Second
	waiterLookMax = 500
	// watchIDs is how many tasks a watch may name, by the contract.
	watchIDs = 100
)

// errAllThere ends the watch of a waiter that has no more to wait for.
var errAllThere = errors.New("all tasks are there")

// waiter follows many tasks by one stream of events.
type waiter struct {
	client *client.Client
	// enough reports whether a task need not be waited for any more.
	enough func(t *v1.Task) bool
	// tell is called with each such task, one at a time.
	tell func(t *v1.Task)
	// began is called once the stream stands, and may add tasks; changes from then on
	// are seen.
	began func(ctx context.Context) error

	mu   sync.Mutex
	left map[string]bool
	look chan string
}

// add waits for one more task.
func (w *waiter) add(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left[id] = true
}

// reached notes that a task need not be waited for any more.
func (w *waiter) reached(t *v1.Task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left[t.GetId()] {
		delete(w.left, t.GetId())
		w.tell(t)
	}
}

// waiting are tasks that are waited for, at most so many.
func (w *waiter) waiting(limit int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []string
	for id := range w.left {
		if len(ids) == limit {
			break
		}
		ids = append(ids, id)
	}
	return ids
}

func newWaiter(c *client.Client) *waiter {
	return &waiter{client: c, left: map[string]bool{}, look: make(chan string, submitBatch)}
}

// run waits for all tasks; the first error ends it.
func (w *waiter) run(ctx context.Context, req *v1.WatchEventsRequest) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.watch(ctx, req)
	if err := w.began(ctx); err != nil {
		return err
	}
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel(nil)
	for range waiterCalls {
		calls.Go(func() {
			if err := w.ask(ctx, cancel); err != nil {
				cancel(err)
			}
		})
	}
	tick := time.NewTicker(waiterLook)
	defer tick.Stop()
	for limit := math.MaxInt; ; limit = waiterLookMax { // what was before the first change, of all
		ids := w.waiting(limit)
		if len(ids) == 0 {
			return nil
		}
		for _, id := range ids {
			select {
			case w.look <- id:
				continue
			case <-ctx.Done():
			}
			return w.cause(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return w.cause(ctx)
		}
	}
}

func (w *waiter) cause(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, errAllThere) {
		return err
	}
	return nil
}

// ask asks for tasks that may be there, until all are.
func (w *waiter) ask(ctx context.Context, cancel context.CancelCauseFunc) error {
	for {
		if len(w.waiting(1)) == 0 {
			cancel(errAllThere)
		}
		select {
		case id := <-w.look:
			res, err := w.client.GetTask(ctx, &v1.GetTaskRequest{Id: id})
			if err != nil {
				return err
			}
			if w.enough(res.GetTask()) {
				w.reached(res.GetTask())
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// watch has tasks looked at whose changes are told. It returns once the stream stands.
func (w *waiter) watch(ctx context.Context, req *v1.WatchEventsRequest) {
	begun, begin := context.WithTimeout(ctx, watchBegin)
	go func() {
		defer begin()
		_ = w.client.WatchEvents(ctx, req, func(m *v1.WatchEventsResponse) error {
			begin()
			id := m.GetEvent().GetTask().GetTaskId()
			w.mu.Lock()
			ours := w.left[id]
			w.mu.Unlock()
			if !ours {
				return nil
			}
			select {
			case w.look <- id:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	<-begun.Done()
}
