// Package gather lets what is asked for while a request is under way go together in the
// next one: the leader's log is written in the same way (db/batch.go). Nothing waits that
// could have gone, and there is no timer between a call and its request.
package gather

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Queue gathers items of a type T, which a caller waits for by itself. One request is under
// way at a time.
type Queue[T comparable] struct {
	// Patience is how long a request may take before those behind it go by themselves.
	Patience time.Duration
	// MaxItems and MaxBytes bound a request, but for one item that is larger by itself.
	MaxItems, MaxBytes int
	// Size is about how many bytes an item takes.
	Size func(T) int
	// Send makes a request of items, two or more or one, and lets their callers know.
	Send func([]T)

	mu      sync.Mutex
	begun   time.Time // of the request under way; zero if there is none
	waiting []T
}

// Do makes sure that an item is sent: in a call of its own, alone, or by Send with others,
// which must then make done receive or be closed. It returns false if ctx ends before.
func (q *Queue[T]) Do(ctx context.Context, item T, done <-chan struct{}, alone func()) bool {
	switch q.enter(item) {
	case first:
		defer q.next()
		alone()
		return true
	case passes:
		alone()
		return true
	}
	stuck := time.NewTimer(q.Patience)
	defer stuck.Stop()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		q.leave(item)
		return false
	case <-stuck.C:
		if q.leave(item) {
			alone()
			return true
		}
	}
	select { // it is under way
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// turn is how an item goes.
type turn int

const (
	waits  turn = iota // with the next request
	first              // by itself, and others wait for it
	passes             // by itself, beside a request that takes long
)

func (q *Queue[T]) enter(item T) turn {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	switch {
	case q.begun.IsZero():
		q.begun = now
		return first
	case now.Sub(q.begun) > q.Patience:
		return passes
	}
	q.waiting = append(q.waiting, item)
	return waits
}

// leave takes an item back, and reports whether it had not been sent.
func (q *Queue[T]) leave(item T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, item)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	return i >= 0
}

// next sends what has gathered, when a request has ended.
func (q *Queue[T]) next() {
	if batch := q.take(); len(batch) > 0 {
		go func() {
			q.Send(batch)
			Settle(q.len)
			q.next()
		}()
	}
}

// take returns what fits into the next request, which begins now, unless it is empty.
func (q *Queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for ; n < min(len(q.waiting), q.MaxItems); n++ {
		if size += q.Size(q.waiting[n]); n > 0 && size > q.MaxBytes {
			break
		}
	}
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	q.begun = time.Time{}
	if n > 0 {
		q.begun = time.Now()
	}
	return batch
}

func (q *Queue[T]) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// Waiting is how many items wait, and whether a request is under way: for tests.
func (q *Queue[T]) Waiting() (items int, underWay bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting), !q.begun.IsZero()
}

// Latest is a context that lasts until the last of a batch gives up; without one, if one of
// them does not, and fallback is 0.
func Latest(callers []context.Context, fallback time.Duration) (context.Context, context.CancelFunc) {
	var last time.Time
	for _, c := range callers {
		deadline, ok := c.Deadline()
		switch {
		case !ok && fallback == 0:
			return context.WithCancel(context.Background())
		case !ok:
			deadline = time.Now().Add(fallback)
		}
		if deadline.After(last) {
			last = deadline
		}
	}
	return context.WithDeadline(context.Background(), last)
}
