package db

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/internal/gather"
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
	begun   time.Time
	// needs is set if operations may need others, looked the operations that have looked at a
	// node, by their place from 1 on, while nothing else was added: see Assign.
	needs  bool
	looked map[nodeSession]int
}

// Add appends an operation. result, if not nil, is called once the entry is
// applied, before any Finish.
func (g *Group) Add(op *Op, result func(OpResult)) {
	g.ops = append(g.ops, op)
	g.results = append(g.results, result)
	g.looked = nil
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

// Hungry is a Planner that says how many more tasks should wait to be placed, so that nodes
// have some whenever they ask. It is asked after each group.
type Hungry interface {
	Wants() int
}

// Reader reads this member's state as it is now.
type Reader func(ctx context.Context, fn func(Conn) error) error

// maxEncoded is the largest memory for an entry that is kept for the next, in bytes. Nearly
// all are smaller.
const maxEncoded = 1 << 20

// batcher makes entries of the items that arrive while the entry before is being
// committed: no timer, no added wait, one entry in flight.
type batcher struct {
	engine  Engine
	planner Planner
	read    Reader
	encoded []byte // memory for entries, one after the other
	memory  memory
	endsSQL string // notes the ends of an entry's tasks; "" while a trigger does

	mu      sync.Mutex
	waiting waiting
	leading bool
	patient bool          // an item waits, and a kick will come
	held    bool          // so do new tasks
	wake    chan struct{} // one token: there is something to do
	clock   func() time.Time
	lastNow int64
}

func newBatcher(engine Engine, read Reader) *batcher {
	return &batcher{engine: engine, read: read, clock: time.Now, wake: make(chan struct{}, 1)}
}

// submit queues an item. It fails at once if this member does not lead or too
// much is waiting; then Finish is not called.
func (b *batcher) submit(it Item) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.leading {
		return b.notLeading()
	}
	if err := b.waiting.add(it, time.Now()); err != nil {
		return err
	}
	b.kickFor(it)
	return nil
}

// submitNew is submit for tasks that are new, for all of the items or none: see waiting.
func (b *batcher) submitNew(items []*simple) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.leading {
		return b.notLeading()
	}
	if err := b.waiting.addAll(items, time.Now()); err != nil {
		return err
	}
	if !b.held {
		b.kick()
	}
	return nil
}

// refusesNewWork is the error that submitNew would return for so many bytes because too much waits.
func (b *batcher) refusesNewWork(size int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting.refusesNewWork(size, time.Now())
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

func (b *batcher) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting.len()
}

// take removes what fits into one entry from the queue.
func (b *batcher) take() []Item {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.patient = false
	select { // whoever has kicked until now is served: patient items are not to go for that alone
	case <-b.wake:
	default:
	}
	items, wait := b.waiting.take(time.Now())
	switch {
	case b.waiting.len() == 0:
	case wait == 0:
		b.kick()
	case !b.held:
		b.held = true
		time.AfterFunc(wait, b.release)
	}
	return items
}

// release makes the batcher look for new tasks that were held back.
func (b *batcher) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = false
	b.kick()
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
	queue := b.waiting.clear()
	b.leading = false
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
		gather.Settle(b.len)
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
		b.askWants()
	}
	for _, it := range items {
		it.Finish(err)
	}
	return err
}

func (b *batcher) begin() *Group {
	return &Group{Now: b.nowMs(), begun: time.Now(), needs: b.endsSQL != ""}
}

func (b *batcher) nowMs() int64 {
	b.lastNow = max(b.lastNow, b.clock().UnixMilli())
	return b.lastNow
}

func (b *batcher) commit(ctx context.Context, term Term, g *Group) error {
	for _, s := range g.Submissions {
		g.Add(s.op(g.Now, &b.memory), s.result)
	}
	if len(g.ops) == 0 {
		return nil
	}
	entry := Entry{StampMs: g.Now, JournalSQL: sqlEventInsert, EndsSQL: b.endsSQL, Ops: g.ops}
	encoded := entry.Encoded(b.encoded[:0])
	applied, err := b.engine.Apply(ctx, term, encoded)
	b.memory.reset()
	if b.encoded = encoded.Bytes; cap(b.encoded) > maxEncoded {
		b.encoded = nil
	}
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
	b.account(g, applied.Took, time.Since(g.begun))
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
	if ctx.Err() != nil {
		return errTooLate
	}
	it := newSimple(ops, bytes, prepare)
	if err := m.batch.submit(it); err != nil {
		return err
	}
	return it.await(ctx)
}

func newSimple(ops, bytes int, prepare func(g *Group)) *simple {
	return &simple{prepare: prepare, ops: ops, bytes: bytes + 64, done: make(chan error, 1)}
}

func (s *simple) await(ctx context.Context) error {
	select {
	case err := <-s.done:
		return err
	case <-ctx.Done():
		return controlplane.Errorf(controlplane.CodeUnknownOutcome,
			"the time allowed ended while the write was under way: repeat it with the same key to learn its outcome")
	}
}

var errTooLate = controlplane.Errorf(controlplane.CodeDeadline, "the time allowed was over before the write began: nothing was changed")

// doNew queues new tasks in parts, and waits until all are committed. If some are and others
// are not, the outcome is unknown.
func (m *TaskManifest) doNew(ctx context.Context, parts []*simple) error {
	if ctx.Err() != nil {
		return errTooLate
	}
	if err := m.batch.submitNew(parts); err != nil {
		return err
	}
	var failure error
	committed := 0
	for _, it := range parts {
		switch err := it.await(ctx); {
		case err == nil:
			committed++
		case failure == nil || controlplane.CodeOf(err) == controlplane.CodeUnknownOutcome:
			failure = err
		}
	}
	if failure != nil && committed > 0 {
		return controlplane.Errorf(controlplane.CodeUnknownOutcome,
			"some of the tasks are stored, of others it is not known: repeat the call with the same keys: %v", failure)
	}
	return failure
}

// Enqueue queues an item without waiting. Only the leader can.
func (m *TaskManifest) Enqueue(it Item) error { return m.batch.submit(it) }

// Waiting is how many writes wait for an entry on this member: 0 if it does not lead.
func (m *TaskManifest) Waiting() int {
	m.batch.mu.Lock()
	defer m.batch.mu.Unlock()
	return m.batch.waiting.len()
}

// Kick makes the leader plan again although nothing was submitted.
func (m *TaskManifest) Kick() { m.batch.kick() }
