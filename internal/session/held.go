package session

import (
	"context"
	"sync"
	"time"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// attemptKey names one try of a task.
type attemptKey struct {
	task   string
	number int32
}

// held is the set of attempts that the node holds: those that run and those whose
// outcome has not been answered yet. Each takes a slot until then, by which the
// report that frees it can fill it again in the same call.
type held struct {
	lease    *lease
	relay    *relay
	mu       sync.Mutex
	slots    int
	reserved int // slots that a poll under way may fill
	draining bool
	// uncertain says that an answer may have been lost, and tasks with it: the next
	// poll gives the whole list, by which they are delivered again.
	uncertain bool
	byTask    map[string]*Attempt
	answered  recent
	changed   chan struct{} // closed, and replaced, at each change
}

func newHeld(slots int, l *lease, r *relay) *held {
	return &held{lease: l, relay: r, slots: slots, uncertain: true, byTask: map[string]*Attempt{}, changed: make(chan struct{})}
}

// broadcast wakes all that wait for a change. mu is held.
func (h *held) broadcast() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// maxPollTasks bounds the tasks of one poll, by the contract.
const maxPollTasks = 1000

// reserve waits for free slots and takes them for a poll; 0 when ctx ends.
func (h *held) reserve(ctx context.Context) int {
	for {
		h.mu.Lock()
		n := min(h.slots-len(h.byTask)-h.reserved, maxPollTasks)
		if n > 0 && !h.draining {
			h.reserved += n
			h.mu.Unlock()
			return n
		}
		changed := h.changed
		h.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0
		}
	}
}

// release gives up the slots that a poll reserved.
func (h *held) release(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reserved -= n
	h.broadcast()
}

// add takes in tasks that were delivered, and returns the attempts to start. What
// the node holds already, or has already been answered about, was delivered twice.
// An older attempt of the same task is stopped, and the new one waits for its end.
func (h *held) add(tasks []*controlplanev1.Task) (fresh []*Attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range tasks {
		older := h.byTask[t.GetId()]
		if older != nil && older.key.number >= t.GetAttempt() || h.answered.has(keyOf(t)) {
			continue
		}
		a := newAttempt(t, older, h.lease, h.relay)
		if older != nil {
			older.stop(Dropped, 0)
		}
		if h.draining {
			a.stop(HandedBack, 0)
		}
		h.byTask[t.GetId()] = a
		fresh = append(fresh, a)
	}
	h.broadcast()
	return fresh
}

// remove ends the holding of an attempt; answered says that the control plane
// knows how it ended.
func (h *held) remove(a *Attempt, answered bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if answered {
		h.answered.add(a.key)
	}
	if h.byTask[a.key.task] == a {
		delete(h.byTask, a.key.task)
		h.broadcast()
	}
}

// get returns the attempt if it is held.
func (h *held) get(k attemptKey) *Attempt {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.byTask[k.task]; a != nil && a.key == k {
		return a
	}
	return nil
}

// list is what heartbeats and polls say that the node holds.
func (h *held) list() []*controlplanev1.HeldAttempt {
	all := h.all()
	list := make([]*controlplanev1.HeldAttempt, 0, len(all))
	for _, a := range all { // without the lock: what runs is asked how far it is
		if !a.IsDropped() {
			list = append(list, &controlplanev1.HeldAttempt{TaskId: a.key.task, Attempt: a.key.number, Progress: a.progress()})
		}
	}
	return list
}

// all returns the attempts held.
func (h *held) all() []*Attempt {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]*Attempt, 0, len(h.byTask))
	for _, a := range h.byTask {
		list = append(list, a)
	}
	return list
}

// drain ends the taking in of tasks: those that still come are handed back.
func (h *held) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
	h.broadcast()
}

func (h *held) isDraining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

func (h *held) setUncertain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uncertain = true
}

func (h *held) isUncertain() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.uncertain
}

// takeUncertain tells whether the next poll has to give the whole list.
func (h *held) takeUncertain() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.uncertain
	h.uncertain = false
	return was
}

// stopAll stops all attempts and returns how many there are.
func (h *held) stopAll(f Fate, grace time.Duration) int {
	list := h.all()
	for _, a := range list {
		a.stop(f, grace)
	}
	return len(list)
}

// awaitEmpty waits until nothing is held, and returns how many attempts are held
// when ctx ends.
func (h *held) awaitEmpty(ctx context.Context) int {
	for {
		h.mu.Lock()
		n, changed := len(h.byTask), h.changed
		h.mu.Unlock()
		if n == 0 {
			return 0
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return n
		}
	}
}

// recent remembers the attempts that were answered last: a delivery that was
// repeated may arrive after the end of the attempt.
type recent struct {
	set  map[attemptKey]bool
	ring []attemptKey
	next int
}

const maxRecent = 4096

func (r *recent) has(k attemptKey) bool { return r.set[k] }

func (r *recent) add(k attemptKey) {
	if r.set == nil {
		r.set, r.ring = map[attemptKey]bool{}, make([]attemptKey, maxRecent)
	}
	delete(r.set, r.ring[r.next])
	r.set[k], r.ring[r.next] = true, k
	r.next = (r.next + 1) % maxRecent
}
