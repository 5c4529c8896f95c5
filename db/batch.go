package db

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// Limits of the write queue and of an entry.
const (
	// maxGroupOps bounds the operations that items bring into an entry, unless one
	// brings more by itself: more gains little and makes those who wait wait longer.
	maxGroupOps = 1024
	// maxGroupBytes bounds what is taken into one entry.
	maxGroupBytes = 8 << 20
	// maxQueueItems and maxQueueBytes bound what waits for an entry.
	maxQueueItems = 65536
	maxQueueBytes = 64 << 20
	// newWorkShare is the part of the queue, one in so many, that submissions may fill: when
	// more come than can be written, leases are still renewed and results recorded, and
	// neither waits for long.
	newWorkShare = 4
	// queueRetryAfter is what callers are told when the queue is full.
	queueRetryAfter = 100 * time.Millisecond
)

// Item is something that wants to be part of an entry. Its methods are called by
// the one goroutine that makes entries, so what they decide on cannot change
// under them: the entry before is applied, the next one waits.
type Item interface {
	// Prepare adds operations to the group, or none.
	Prepare(g *Group)
	// Finish is called once, after the group is committed (err is nil) or has
	// failed as a whole, and also if Prepare was never called.
	Finish(err error)
	// Weight is about how many operations and bytes it will put into the entry.
	Weight() (ops, bytes int)
}

// Patient is an Item that may wait for others, so that a log entry, which costs a sync, is
// not made for it alone. It goes with whatever else makes one before.
type Patient interface {
	Item
	// Patience is how long it may wait; 0 for not at all.
	Patience() time.Duration
}

// Group is an entry in the making.
type Group struct {
	// Now is the leader's clock when the group was begun, Unix milliseconds; it
	// never goes back between groups.
	Now int64
	// Submissions are tasks that enter with this group, in order. A Planner may
	// place them before they are sealed.
	Submissions []*Submission

	ops     []*Op
	results []func(OpResult)
	index   uint64
}

// Add appends an operation. result, if not nil, is called once the entry is
// applied, before any Finish.
func (g *Group) Add(op *Op, result func(OpResult)) {
	g.ops = append(g.ops, op)
	g.results = append(g.results, result)
}

// Index is the log index of the group once it is committed.
func (g *Group) Index() uint64 { return g.index }

// Planner decides, on the leader, what else goes into an entry. The scheduler is
// one. All methods are called by the goroutine that makes entries.
type Planner interface {
	// Lead begins a term: the planner reads what it needs from the state.
	Lead(ctx context.Context, read Reader) error
	// Plan sees the group after all items are prepared and before it is sealed.
	Plan(g *Group)
	// Committed is called after the results of a group were handed out.
	Committed(g *Group)
	// Disturbed is called when the state was changed past the planner, by the
	// one-at-a-time methods of the manifest.
	Disturbed()
	// Resign ends a term.
	Resign()
}

// Reader reads this member's state as it is now.
type Reader func(ctx context.Context, fn func(Conn) error) error

// batcher makes entries of the items that arrive while the entry before is being
// committed: no timer, no added wait, one entry in flight.
type batcher struct {
	engine  Engine
	planner Planner
	read    Reader

	mu      sync.Mutex
	queue   []Item
	bytes   int
	leading bool
	patient bool          // an item waits, and a kick will come
	wake    chan struct{} // one token: there is something to do
	clock   func() time.Time
	lastNow int64
}

func newBatcher(engine Engine, read Reader) *batcher {
	return &batcher{engine: engine, read: read, clock: time.Now, wake: make(chan struct{}, 1)}
}

// submit queues an item. It fails at once if this member does not lead or too
// much is waiting; then Finish is not called.
func (b *batcher) submit(it Item) error { return b.submitInto(it, 1) }

// submitInto is submit for an item that may fill only one part in so many of the queue.
func (b *batcher) submitInto(it Item, share int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.leading {
		return b.notLeading()
	}
	_, size := it.Weight()
	if len(b.queue) >= maxQueueItems/share || b.bytes+size > maxQueueBytes/share {
		return &controlplane.Error{Code: controlplane.CodeExhausted, RetryAfter: queueRetryAfter,
			Message: "too much is waiting to be written: try again in 100 ms"}
	}
	b.queue = append(b.queue, it)
	b.bytes += size
	b.kickFor(it)
	return nil
}

func (b *batcher) notLeading() error {
	address, self, _ := b.engine.Leader()
	if self {
		return controlplane.Errorf(controlplane.CodeUnavailable, "this member begins or ends to lead: try again")
	}
	return &controlplane.Error{Code: controlplane.CodeUnavailable, Leader: address,
		Message: "this member does not lead: ask the leader"}
}

// kickFor makes the batcher look for work now, or when an item has waited for as long as it
// may. mu is held.
func (b *batcher) kickFor(it Item) {
	p, ok := it.(Patient)
	if !ok || p.Patience() <= 0 {
		b.kick()
		return
	}
	if !b.patient { // the first one that waits
		b.patient = true
		time.AfterFunc(p.Patience(), b.kick)
	}
}

// kick makes the batcher look for work.
func (b *batcher) kick() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take removes what fits into one entry from the queue.
func (b *batcher) take() []Item {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.patient = false
	n, ops, size := 0, 0, 0
	for n < len(b.queue) {
		o, w := b.queue[n].Weight()
		if n > 0 && (ops+o > maxGroupOps || size+w > maxGroupBytes) {
			break
		}
		ops, size, n = ops+o, size+w, n+1
	}
	items := b.queue[:n:n]
	b.queue = b.queue[n:]
	b.bytes -= size
	if len(b.queue) > 0 {
		b.kick()
	} else {
		b.queue = nil
	}
	return items
}

// open lets items in at the beginning of a term, close turns them away and
// fails those that wait.
func (b *batcher) open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leading = true
}

func (b *batcher) close() {
	b.mu.Lock()
	queue := b.queue
	b.queue, b.bytes, b.leading = nil, 0, false
	b.mu.Unlock()
	for _, it := range queue {
		it.Finish(b.notLeading())
	}
}

// run makes entries until the term ends, or again is closed between two entries.
func (b *batcher) run(ctx context.Context, term Term, again <-chan struct{}) error {
	for {
		select {
		case <-b.wake:
		case <-again:
			return nil
		case <-term.Done:
			return nil
		case <-ctx.Done():
			return nil
		}
		if err := b.cycle(ctx, term, b.take()); err != nil {
			return err
		}
	}
}

// cycle makes one entry. An error ends the term: what is in flight is in doubt.
func (b *batcher) cycle(ctx context.Context, term Term, items []Item) error {
	g := b.begin()
	for _, it := range items {
		it.Prepare(g)
	}
	if b.planner != nil {
		b.planner.Plan(g)
	}
	err := b.commit(ctx, term, g)
	if err == nil && b.planner != nil {
		b.planner.Committed(g)
	}
	for _, it := range items {
		it.Finish(err)
	}
	return err
}

func (b *batcher) begin() *Group {
	return &Group{Now: b.nowMs()}
}

func (b *batcher) nowMs() int64 {
	b.lastNow = max(b.lastNow, b.clock().UnixMilli())
	return b.lastNow
}

func (b *batcher) commit(ctx context.Context, term Term, g *Group) error {
	for _, s := range g.Submissions {
		g.Add(s.op(g.Now), s.result)
	}
	if len(g.ops) == 0 {
		return nil
	}
	entry := Entry{StampMs: g.Now, JournalSQL: sqlEventInsert, Ops: g.ops}
	applied, err := b.engine.Apply(ctx, term, entry.Encode(nil))
	if err != nil {
		return err
	}
	if len(applied.Results) != len(g.ops) {
		return errors.New("engine: results do not match operations")
	}
	g.index = applied.Index
	for i, r := range applied.Results {
		if g.results[i] != nil {
			g.results[i](r)
		}
	}
	return nil
}

// simple is an Item that waits for its outcome: the form of the one-at-a-time
// methods.
type simple struct {
	prepare    func(g *Group)
	ops, bytes int
	done       chan error
}

func (s *simple) Prepare(g *Group)         { s.prepare(g) }
func (s *simple) Finish(err error)         { s.done <- err }
func (s *simple) Weight() (ops, bytes int) { return s.ops, s.bytes }

// Do queues what prepare adds, about bytes, and waits until it is committed. If ctx
// ends first, the outcome is unknown, and prepare may be called yet. Only the leader
// can.
func (m *TaskManifest) Do(ctx context.Context, bytes int, prepare func(g *Group)) error {
	return m.do(ctx, 1, bytes, prepare)
}

func (m *TaskManifest) do(ctx context.Context, ops, bytes int, prepare func(g *Group)) error {
	return m.doInto(ctx, 1, ops, bytes, prepare)
}

// doInto is do for what may fill only one part in so many of the queue.
func (m *TaskManifest) doInto(ctx context.Context, share, ops, bytes int, prepare func(g *Group)) error {
	if ctx.Err() != nil {
		return controlplane.Errorf(controlplane.CodeDeadline, "the time allowed was over before the write began: nothing was changed")
	}
	it := &simple{prepare: prepare, ops: ops, bytes: bytes + 64, done: make(chan error, 1)}
	if err := m.batch.submitInto(it, share); err != nil {
		return err
	}
	select {
	case err := <-it.done:
		return err
	case <-ctx.Done():
		return controlplane.Errorf(controlplane.CodeUnknownOutcome,
			"the time allowed ended while the write was under way: repeat it with the same key to learn its outcome")
	}
}

// Enqueue queues an item without waiting. Only the leader can.
func (m *TaskManifest) Enqueue(it Item) error { return m.batch.submit(it) }

// Kick makes the leader plan again although nothing was submitted.
func (m *TaskManifest) Kick() { m.batch.kick() }
