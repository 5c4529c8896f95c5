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

	mu       sync.Mutex
	underWay bool
	begun    time.Time     // when the request under way did
	late     bool          // the request under way has taken longer than Patience
	stuck    chan struct{} // closed when one has, and made anew for those who come then
	alarm    *time.Timer   // runs while a request is under way
	waiting  []T
}

// Do makes sure that an item is sent: in a call of its own, alone, or by Send with others,
// which must then make done receive or be closed. It returns false if ctx ends before.
func (q *Queue[T]) Do(ctx context.Context, item T, done <-chan struct{}, alone func()) bool {
	how, stuck := q.enter(item)
	switch how {
	case first:
		defer q.next()
		alone()
		return true
	case passes:
		alone()
		return true
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		q.leave(item)
		return false
	case <-stuck:
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

// enter lets an item in. If it waits, stuck is closed once a request has taken too long: one
// channel, and one timer, for all who wait, as a timer for each took a twentieth of their CPU.
func (q *Queue[T]) enter(item T) (how turn, stuck <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case !q.underWay:
		q.begin()
		return first, nil
	case q.late:
		return passes, nil
	}
	q.waiting = append(q.waiting, item)
	return waits, q.stuck
}

// begin notes that a request begins. mu is held.
func (q *Queue[T]) begin() {
	q.underWay, q.late, q.begun = true, false, time.Now()
	if q.stuck == nil {
		q.stuck = make(chan struct{})
	}
	if q.alarm == nil {
		q.alarm = time.AfterFunc(q.Patience, q.ring)
	} else {
		q.alarm.Reset(q.Patience)
	}
}

// ring lets all who wait go by themselves, and those who come until the request has ended.
func (q *Queue[T]) ring() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.underWay && !q.late && time.Since(q.begun) >= q.Patience { // else it rang for one that has just ended
		q.late = true
		close(q.stuck)
		q.stuck = make(chan struct{})
	}
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
		go q.send(batch)
	}
}

// send makes one request after the other while any wait, on one goroutine: its stack has grown
// to what a request needs.
func (q *Queue[T]) send(batch []T) {
	for len(batch) > 0 {
		q.Send(batch)
		Settle(q.len)
		batch = q.take()
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
	q.alarm.Stop()
	if q.underWay = false; n > 0 {
		q.begin()
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
	return len(q.waiting), q.underWay
}

// Latest is a context that lasts until the last of a batch gives up. If one of them never does, it lasts
// for fallback, even if others have more time than that; without end if fallback is 0.
func Latest(callers []context.Context, fallback time.Duration) (context.Context, context.CancelFunc) {
	var last time.Time
	for _, c := range callers {
		deadline, ok := c.Deadline()
		switch {
		case !ok && fallback == 0:
			return context.WithCancel(context.Background())
		case !ok:
			return context.WithTimeout(context.Background(), fallback)
		case deadline.After(last):
			last = deadline
		}
	}
	return context.WithDeadline(context.Background(), last)
}

// Outlasts reports whether a caller has time left when the context of its batch has not.
func Outlasts(caller, batch context.Context) bool {
	if batch.Err() == nil || caller.Err() != nil {
		return false
	}
	end, _ := batch.Deadline()
	deadline, ok := caller.Deadline()
	return ok && deadline.After(end)
}
