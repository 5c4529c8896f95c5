package scheduler

import (
	"context"
	"math/bits"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// Fairness. Between queues the next task comes from the one with the least dominant
// share for its weight: weighted dominant resource fairness (Ghodsi et al., "Dominant
// Resource Fairness: Fair Allocation of Multiple Resource Types", NSDI 2011), by
// progressive filling, one task at a time. Within a queue it is the first by priority,
// or by priority and waiting together (see before), and then age.

// queue is the copy of a queue's settings, with what its tasks hold.
type queue struct {
	name string
	controlplane.QueueSettings
	tasks int64
	used  controlplane.Resources
	// streams counts its streams. Without any, and without tasks on nodes, a queue is
	// not kept, unless it has settings.
	streams int
	stored  bool

	// Of the pass under way.
	share int64
	ready []*stream // a heap, the first on top
}

// queue returns the queue of a name; one that has no settings gets the defaults.
func (st *state) queue(name string) *queue {
	q := st.queues[name]
	if q == nil {
		q = &queue{name: name, QueueSettings: controlplane.DefaultQueueSettings()}
		st.queues[name] = q
	}
	return q
}

func (st *state) loadQueues(c db.Conn) error {
	settings, err := db.QueueSettings(c)
	for name, s := range settings {
		st.queues[name] = &queue{name: name, QueueSettings: s, stored: true}
	}
	return err
}

// resettle takes over what is set for queues now. Only when nothing is in flight. What
// decides over how the tasks that wait are sorted makes everything be read anew.
func (st *state) resettle(names []string) {
	if len(names) == 0 || st.disturbed {
		return
	}
	var all map[string]controlplane.QueueSettings
	err := st.read(context.Background(), func(c db.Conn) (err error) {
		all, err = db.QueueSettings(c)
		return err
	})
	if err != nil {
		st.s.log.Error("cannot read the settings of queues: reading the state anew", "error", err)
		st.disturbed = true
		return
	}
	for _, name := range names {
		q := st.queue(name)
		s, stored := all[name]
		if !stored {
			s = controlplane.DefaultQueueSettings()
		}
		if q.streams > 0 && (s.Placement != q.Placement || (s.AgeingInterval > 0) != (q.AgeingInterval > 0)) {
			st.disturbed = true
			return
		}
		q.QueueSettings, q.stored = s, stored
		st.forget(q)
	}
}

// forget lets go of a queue that memory has nothing to say about.
func (st *state) forget(q *queue) {
	if q.streams == 0 && q.tasks == 0 && !q.stored {
		delete(st.queues, q.name)
	}
}

// charge adds n times what a task of a stream holds to its queue and its key.
func (st *state) charge(k db.Stream, r controlplane.Resources, n int64) {
	q := st.queue(k.Queue)
	q.tasks += n
	q.used.CPUMillis += n * r.CPUMillis
	q.used.MemoryBytes += n * r.MemoryBytes
	q.used.DiskBytes += n * r.DiskBytes
	q.used.GPUs += int32(n) * r.GPUs
	q.used.Custom = addCounts(q.used.Custom, r.Custom, n)
	st.forget(q)
	if k.Key == "" {
		return
	}
	if st.keys[k.Key] += int32(n); st.keys[k.Key] == 0 {
		delete(st.keys, k.Key)
	}
	if n < 0 {
		st.wake(k.Key)
	}
}

// sleep takes a stream out of the passes until an attempt with its key ends, if the key
// is what holds it: there may be many keys, and a pass looks at each stream.
func (st *state) sleep(s *stream) {
	if s.key.Key != "" && st.keys[s.key.Key] >= s.key.MaxConcurrency {
		delete(s.class.awake, s)
		st.asleep[s.key.Key] = append(st.asleep[s.key.Key], s)
	}
}

func (st *state) wake(key string) {
	for _, s := range st.asleep[key] {
		s.class.awake[s] = struct{}{}
	}
	delete(st.asleep, key)
}

// What hold says beside limits of the queue.
const (
	holdPaused = "paused"
	holdKey    = "concurrency key"
)

// hold is what in the settings of its queue or its concurrency key keeps a task from
// being placed, "" if nothing does: holdPaused, holdKey, or what the queue is limited in.
func (st *state) hold(q *queue, k db.Stream, r *controlplane.Resources) string {
	switch {
	case q.Paused:
		return holdPaused
	case !q.Limits.Tasks.Allows(q.tasks + 1):
		return "tasks"
	case !q.Limits.CPUMillis.Allows(q.used.CPUMillis + r.CPUMillis):
		return "CPU"
	case !q.Limits.MemoryBytes.Allows(q.used.MemoryBytes + r.MemoryBytes):
		return "memory"
	case !q.Limits.GPUs.Allows(int64(q.used.GPUs + r.GPUs)):
		return "GPUs"
	case !q.Limits.DiskBytes.Allows(q.used.DiskBytes + r.DiskBytes):
		return "disk"
	case k.Key != "" && st.keys[k.Key] >= k.MaxConcurrency:
		return holdKey
	}
	return q.holdCustom(r)
}

// holdCustom is what of that which has names of its own the queue is limited in.
func (q *queue) holdCustom(r *controlplane.Resources) string {
	held := ""
	for name, count := range r.Custom {
		limit, limited := q.Limits.Custom[name]
		if limited && q.used.Custom[name]+count > limit && (held == "" || name < held) {
			held = name
		}
	}
	return held
}

// admits reports whether the settings of its queue and its concurrency key let the
// head of a stream be placed.
func (st *state) admits(s *stream) bool {
	return st.hold(s.queue, s.key, &s.class.needs.Resources) == ""
}

// fleet is what all healthy nodes have together.
type fleet struct {
	slots, cpuMillis, memoryBytes, diskBytes, gpus int64
	custom                                         map[string]int64
}

// fleet is added up anew once a node has changed: each entry has a pass, and most passes
// place little, so that going through thousands of nodes would be most of it.
func (st *state) fleet() *fleet {
	if st.total == nil {
		f := st.addUp()
		st.total = &f
	}
	return st.total
}

func (st *state) addUp() (f fleet) {
	for _, n := range st.byNum {
		if n.status == controlplane.NodeHealthy {
			f.slots += int64(n.spec.Slots)
			f.cpuMillis += n.spec.Capacity.CPUMillis
			f.memoryBytes += n.spec.Capacity.MemoryBytes
			f.diskBytes += n.spec.Capacity.DiskBytes
			f.gpus += int64(n.spec.Capacity.GPUs)
			f.custom = addCounts(f.custom, n.spec.Capacity.Custom, 1)
		}
	}
	return f
}

// share is the dominant share of a queue, in units of 1/full.
func (f *fleet) share(q *queue) int64 {
	share := max(part(q.tasks, f.slots), part(q.used.CPUMillis, f.cpuMillis), part(q.used.MemoryBytes, f.memoryBytes), part(q.used.DiskBytes, f.diskBytes),
		part(int64(q.used.GPUs), f.gpus))
	for name, used := range q.used.Custom {
		share = max(share, part(used, f.custom[name]))
	}
	return share
}

// addCounts adds n times what is counted by name to sums, which has no zeros.
func addCounts(sums, counts map[string]int64, n int64) map[string]int64 {
	for name, count := range counts {
		if sums == nil {
			sums = map[string]int64{}
		}
		if sums[name] += n * count; sums[name] == 0 {
			delete(sums, name)
		}
	}
	return sums
}

// part is used of total in units of 1/full, at most full.
func part(used, total int64) int64 {
	switch {
	case used == 0:
		return 0
	case used >= total: // nodes that held it are gone
		return full
	}
	hi, lo := bits.Mul64(uint64(used), full)
	share, _ := bits.Div64(hi, lo, uint64(total))
	return int64(share)
}

// before reports whether a task comes before another one of the queue. With ageing,
// each interval that a task has waited counts as one priority: as all gain alike, the
// order of two tasks never changes, and no clock is read.
func (q *queue) before(a, b place) bool {
	if interval := q.AgeingInterval.Milliseconds(); interval > 0 {
		if x, y := int64(a.priority)*interval-a.createMs, int64(b.priority)*interval-b.createMs; x != y {
			return x > y
		}
		return a.seq < b.seq
	}
	return a.before(b)
}

// Len, Less, Swap, Push and Pop implement heap.Interface over the streams that are
// ready.
func (q *queue) Len() int { return len(q.ready) }

// Less orders by the place of the head.
func (q *queue) Less(i, j int) bool { return q.before(q.ready[i].first(), q.ready[j].first()) }

// Swap implements heap.Interface.
func (q *queue) Swap(i, j int) { q.ready[i], q.ready[j] = q.ready[j], q.ready[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { q.ready = append(q.ready, x.(*stream)) }

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	s := q.ready[len(q.ready)-1]
	q.ready = q.ready[:len(q.ready)-1]
	return s
}

// queueHeap is queues that have a head, the one whose turn it is on top.
type queueHeap []*queue

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h queueHeap) Len() int { return len(h) }

// Less orders by share for the weight, then by the place of the head.
func (h queueHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if x, y := a.share*int64(b.Weight), b.share*int64(a.Weight); x != y { // at most 2^52 times 1,000
		return x < y
	}
	return a.ready[0].first().before(b.ready[0].first())
}

// Swap implements heap.Interface.
func (h queueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *queueHeap) Push(x any) { *h = append(*h, x.(*queue)) }

// Pop implements heap.Interface.
func (h *queueHeap) Pop() any {
	q := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return q
}
