package scheduler

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/db/raftdb"
	"github.com/raft-control-plane/control-plane/migrations"
)

// testTimeout bounds what a test waits for; nothing should come near it.
const testTimeout = 5 * time.Minute

// rig is a cluster of one with a scheduler: the real engine in a directory of its
// own and the real manifest, with a clock that stands until it is moved.
type rig struct {
	t      testing.TB
	ctx    context.Context
	cfg    raftdb.Config
	opts   Options
	engine *raftdb.Engine
	tasks  *db.TaskManifest
	s      *Scheduler
	plan   *observer
	hooks  hooks
	wrap   func(db.Engine) db.Engine // nil: as it is
	// migrations are those that this release knows; nil for all.
	migrations []migrations.Migration
	stop       context.CancelFunc
	ran        chan error

	mu    sync.Mutex
	clock time.Time
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, clock: time.Unix(4_000_000_000, 0)}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	r.ctx = ctx
	r.cfg = raftdb.Config{Dir: t.TempDir(), Name: "m1", Advertise: "127.0.0.1:1", Version: "test",
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError})),
		Timing: raftdb.Timing{Heartbeat: 50 * time.Millisecond, SnapshotInterval: time.Hour}}
	r.opts = Options{Gather: -1, RetryBase: time.Minute, RetryMax: 30 * time.Minute, Tick: time.Hour, Now: r.now, Jitter: func() float64 { return 0.5 },
		timer: func(time.Duration) (<-chan time.Time, func() bool) { return nil, func() bool { return true } }}
	return r
}

// start opens the engine and leads.
func (r *rig) start() *rig {
	r.t.Helper()
	r.open()
	r.t.Cleanup(r.close)
	r.lead()
	return r
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

func (r *rig) open() {
	r.t.Helper()
	engine, err := raftdb.Open(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.engine = engine
}

func (r *rig) close() {
	r.resign()
	if r.engine != nil {
		if err := r.engine.Close(); err != nil {
			r.t.Errorf("close: %v", err)
		}
		r.engine = nil
	}
}

// lead begins a term with a new manifest and scheduler.
func (r *rig) lead() {
	r.t.Helper()
	var engine db.Engine = r.engine
	if r.wrap != nil {
		engine = r.wrap(engine)
	}
	r.tasks = db.NewTaskManifest(engine)
	r.tasks.SetLogger(r.cfg.Logger)
	r.tasks.SetMigrations(r.migrations)
	r.tasks.SetClock(r.now)
	r.s = NewWithOptions(r.tasks, r.cfg.Logger, r.opts)
	r.plan = &observer{Scheduler: r.s, hooks: r.hooks, led: make(chan struct{}, 100), next: make(chan struct{})}
	r.tasks.SetPlanner(r.plan)
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.ran = stop, make(chan error, 1)
	go func(tasks *db.TaskManifest) { r.ran <- tasks.Run(ctx) }(r.tasks)
	r.awaitTerm()
}

// awaitTerm waits until the next term has begun.
func (r *rig) awaitTerm() {
	r.t.Helper()
	select {
	case <-r.plan.led:
	case <-r.ctx.Done():
	}
	if err := r.tasks.AwaitWritable(r.ctx); err != nil {
		r.t.Fatalf("no leader: %v", err)
	}
	r.barrier()
}

// resign ends the term.
func (r *rig) resign() {
	if r.stop != nil {
		r.stop()
		<-r.ran
		r.stop = nil
	}
}

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clock
}

func (r *rig) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock = r.clock.Add(d)
}

// settle waits until no pass is called for. One that is called for has to come by
// itself: nothing is submitted here.
func (r *rig) settle() {
	r.t.Helper()
	late := time.NewTimer(testTimeout / 5)
	defer late.Stop()
	for {
		busy, next := r.plan.state()
		if !busy {
			return
		}
		select {
		case <-next:
		case <-late.C:
			r.t.Fatal("a pass is called for and does not come")
		}
	}
}

// barrier waits until what is queued is committed.
func (r *rig) barrier() {
	r.t.Helper()
	if err := r.tasks.Do(r.ctx, 0, func(*db.Group) {}); err != nil {
		r.t.Fatalf("barrier: %v", err)
	}
}

// tick has what is due taken up.
func (r *rig) tick() {
	r.t.Helper()
	if err := r.s.tick(r.ctx); err != nil {
		r.t.Fatalf("tick: %v", err)
	}
}

// together runs start while the making of entries is held up, so that what it
// queues becomes one group.
func (r *rig) together(start func()) {
	r.t.Helper()
	entered, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- r.tasks.Do(r.ctx, 0, func(*db.Group) {
			close(entered)
			<-release
		})
	}()
	select {
	case <-entered:
	case err := <-done:
		r.t.Fatalf("together: %v", err)
	}
	func() {
		defer close(release) // also when start gives up the test
		start()
	}()
	if err := <-done; err != nil {
		r.t.Fatalf("together: %v", err)
	}
}

// queued is a context that tells when a write of the manifest waits: that is when
// it first looks at Done.
type queued struct {
	context.Context
	once sync.Once
	yes  chan struct{}
}

func (r *rig) queued() *queued { return &queued{Context: r.ctx, yes: make(chan struct{})} }

// Done implements context.Context.
func (q *queued) Done() <-chan struct{} {
	q.once.Do(func() { close(q.yes) })
	return q.Context.Done()
}

// observer is the scheduler as the manifest sees it, looked at by the test.
type observer struct {
	*Scheduler
	hooks hooks
	leads atomic.Int64
	led   chan struct{} // a token for each term begun

	mu      sync.Mutex
	passing bool          // a pass is under way, or its group is not committed yet
	busy    bool          // another pass is called for
	next    chan struct{} // closed with the next commit
	after   []func() bool // called after each pass until they return true
}

// afterPass has fn called between each pass and the commit of its group, until it
// returns true.
func (o *observer) afterPass(fn func() bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.after = append(o.after, fn)
}

// hooks are called by the goroutine that makes entries.
type hooks struct {
	leading   func()             // before the first term
	planned   func(s *Scheduler) // after the group is prepared, before the pass
	passed    func(s *Scheduler) // after the pass
	answering func(s *Scheduler) // once a group is committed, before its polls are answered
	committed func(s *Scheduler, g *db.Group, disturbed bool)
}

// state tells whether another pass is called for or under way, and what is closed with its
// commit. A pass clears what is owed once it has begun: it is looked for in that order.
func (o *observer) state() (busy bool, next <-chan struct{}) {
	o.mu.Lock()
	next = o.next
	o.mu.Unlock()
	o.Scheduler.mu.Lock()
	busy = len(o.Scheduler.st.owing) > 0
	o.Scheduler.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	return busy || o.busy || o.passing, next
}

// Wants implements db.Hungry: whatever waits goes into the next group. How many tasks a group
// takes otherwise depends on how long entries took, and with it what a test sees.
func (o *observer) Wants() int { return math.MaxInt }

// Lead implements db.Planner.
func (o *observer) Lead(ctx context.Context, read db.Reader) error {
	if o.leads.Add(1) == 1 && o.hooks.leading != nil {
		o.hooks.leading()
	}
	o.setPassing(false) // that of a group that was not committed
	err := o.Scheduler.Lead(ctx, read)
	if err == nil {
		o.led <- struct{}{}
	}
	return err
}

func (o *observer) setPassing(yes bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.passing = yes
}

// Plan implements db.Planner.
func (o *observer) Plan(g *db.Group) {
	o.setPassing(true)
	if o.hooks.planned != nil {
		o.hooks.planned(o.Scheduler)
	}
	o.Scheduler.Plan(g)
	if o.hooks.passed != nil {
		o.hooks.passed(o.Scheduler)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.after = slices.DeleteFunc(o.after, func(fn func() bool) bool { return fn() })
}

// Committed implements db.Planner.
func (o *observer) Committed(g *db.Group) {
	o.Scheduler.mu.Lock()
	st := o.Scheduler.st
	disturbed := st.disturbed || len(st.resettled) > 0 // then the state says other than what the pass went by
	busy := st.more || disturbed
	o.Scheduler.mu.Unlock()
	if o.hooks.answering != nil {
		o.hooks.answering(o.Scheduler)
	}
	o.Scheduler.Committed(g)
	o.mu.Lock()
	o.busy, o.passing = busy, false
	close(o.next)
	o.next = make(chan struct{})
	o.mu.Unlock()
	if o.hooks.committed != nil {
		o.hooks.committed(o.Scheduler, g, disturbed)
	}
}

// rows returns the rows of a query as text, columns apart by a space.
func (r *rig) rows(sql string, args ...db.Value) (out []string) {
	r.t.Helper()
	_, err := r.engine.Read(r.ctx, db.ReadOptions{Level: db.Stale}, func(c db.Conn) error {
		out = queryRows(r.t, c, sql, args...)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func queryRows(t testing.TB, c db.Conn, sql string, args ...db.Value) (out []string) {
	t.Helper()
	cur, err := c.Query(sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	for cur.Next() {
		var cols []string
		for i := range cur.Columns() {
			cols = append(cols, cur.Value(i).String())
		}
		out = append(out, strings.Join(cols, " "))
	}
	if err := cur.Close(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// execTask is a task that runs a command.
func execTask(id string) *controlplane.Task {
	return &controlplane.Task{ID: id, Exec: &controlplane.Exec{Command: []string{"true"}}}
}
