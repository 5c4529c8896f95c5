package db

import (
	"time"

	"github.com/raft-control-plane/control-plane"
)

// Limits of the write queue and of an entry.
const (
	// maxGroupOps bounds the operations that items bring into an entry, unless one
	// brings more by itself: more gains little and makes those who wait wait longer.
	maxGroupOps = 1024
	// newWorkOps and newWorkBytes are how many tasks of one submission stay together, unless one
	// is larger by itself: an entry takes as many as its pace allows.
	newWorkOps   = 16
	newWorkBytes = 256 << 10
	// maxGroupBytes bounds what is taken into one entry.
	maxGroupBytes = 8 << 20
	// maxQueueItems and maxQueueBytes bound what waits for an entry.
	maxQueueItems = 65536
	maxQueueBytes = 64 << 20
	// newWorkShare is the part of the queue, one in so many, up to which submissions are let
	// in.
	newWorkShare = 4
	// newWorkWait is how long a submission may have waited when others are still taken:
	// beyond it more come than can be written, and waiting longer helps nobody.
	newWorkWait = time.Second
	// queueRetryAfter is what callers are told when the queue is full.
	queueRetryAfter = 100 * time.Millisecond
)

// waiting is what wants to be part of an entry, in three lines. What keeps work going that was
// taken, polls and results, comes before new work, of which each entry takes some all the
// same: so when more is submitted than can be written, tasks end, and what was submitted is
// done at nearly the pace of quieter times. Renewals of leases, which each node sends a few of
// a minute, come before both: thousands of nodes that report may wait for longer than a lease
// lasts, and those that were lost to that would leave more to do.
type waiting struct {
	renewals, goingOn, newWork line
	pace                       pace // of new work
}

// lines are all, in the order in which they are taken from.
func (w *waiting) lines() [3]*line { return [3]*line{&w.renewals, &w.goingOn, &w.newWork} }

// line is items in the order in which they came.
type line struct {
	items []queued
	bytes int
}

type queued struct {
	item       Item
	ops, bytes int
	since      time.Time
}

// refusesNewWork is the error for submissions of so many bytes that come now, nil if they
// are taken.
func (w *waiting) refusesNewWork(size int, now time.Time) error {
	late := len(w.newWork.items) > 0 && now.Sub(w.newWork.items[0].since) > newWorkWait
	if late || w.len() >= maxQueueItems/newWorkShare || w.bytes()+size > maxQueueBytes/newWorkShare {
		return errQueueFull()
	}
	return nil
}

func errQueueFull() error {
	return &controlplane.Error{Code: controlplane.CodeExhausted, RetryAfter: queueRetryAfter,
		Message: "too much is waiting to be written: try again in 100 ms"}
}

// addAll lets items of new work in, all or none.
func (w *waiting) addAll(items []*simple, now time.Time) error {
	size := 0
	for _, it := range items {
		size += it.bytes
	}
	if err := w.refusesNewWork(size, now); err != nil {
		return err
	}
	for _, it := range items {
		w.newWork.add(it, now)
	}
	return nil
}

// add lets an item of work that goes on in, or says that too much waits.
func (w *waiting) add(it Item, now time.Time) error {
	if _, size := it.Weight(); w.len() >= maxQueueItems || w.bytes()+size > maxQueueBytes {
		return errQueueFull()
	}
	if p, ok := it.(Patient); ok && p.Patience() > 0 {
		w.renewals.add(it, now)
	} else {
		w.goingOn.add(it, now)
	}
	return nil
}

func (l *line) add(it Item, now time.Time) {
	ops, size := it.Weight()
	l.items = append(l.items, queued{it, ops, size, now})
	l.bytes += size
}

func (w *waiting) len() (n int) {
	for _, l := range w.lines() {
		n += len(l.items)
	}
	return n
}

func (w *waiting) bytes() (n int) {
	for _, l := range w.lines() {
		n += l.bytes
	}
	return n
}

// take removes what fits into one entry: some of each line in which anything waits, but for
// new work that is held back. wait says for how long that is, should nothing
// else come; 0 if the next entry can be made at once.
func (w *waiting) take(now time.Time) (items []Item, wait time.Duration) {
	items = make([]Item, 0, min(w.len(), maxGroupOps))
	ops, size := maxGroupOps, maxGroupBytes
	if len(w.newWork.items) > 0 {
		ops, size = maxGroupOps/2, maxGroupBytes/2
	}
	items, renewed, renewedBytes := w.renewals.take(items, maxGroupOps/2, size/2)
	items, taken, bytes := w.goingOn.take(items, max(ops-renewed, maxGroupOps/4), size-renewedBytes)
	ops, bytes = maxGroupOps-taken-renewed, bytes+renewedBytes
	// Renewals alone are in no hurry: with thousands of nodes each entry has some.
	tasks, wait := w.pace.begin(taken > 0, now)
	if tasks > 0 {
		items, _, _ = w.newWork.take(items, min(ops, tasks), maxGroupBytes-bytes)
	}
	if len(w.renewals.items)+len(w.goingOn.items) > 0 {
		wait = 0
	}
	return items, wait
}

// take removes what is within the limits from the beginning of the line, one item at least
// if there is any.
func (l *line) take(items []Item, maxOps, maxBytes int) (all []Item, ops, bytes int) {
	n := 0
	for ; n < len(l.items); n++ {
		q := l.items[n]
		if n > 0 && (ops+q.ops > maxOps || bytes+q.bytes > maxBytes) {
			break
		}
		ops, bytes, items = ops+q.ops, bytes+q.bytes, append(items, q.item)
	}
	clear(l.items[:n]) // what they hold goes with them
	if l.items = l.items[n:]; len(l.items) == 0 {
		l.items = nil
	}
	l.bytes -= bytes
	return items, ops, bytes
}

// clear empties all lines.
func (w *waiting) clear() (items []Item) {
	for _, l := range w.lines() {
		for _, q := range l.items {
			items = append(items, q.item)
		}
	}
	*w = waiting{}
	return items
}
