// Package db holds the state of the control plane in SQL: the statements, the
// operations made of them, and the manifest, which reads and writes tasks and
// nodes through a replicated engine.
//
// Writes are grouped: whatever arrives while one log entry is being committed
// goes into the next, each operation under a guard of its own. See ARCHITECTURE
// in docs for the path of a request.
package db

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raft-control-plane/control-plane/migrations"
)

// TaskManifest reads and writes the replicated state of tasks and nodes. It is
// safe for concurrent use. Reads work on every member; writes work on the leader
// and fail with CodeUnavailable, naming the leader, elsewhere.
type TaskManifest struct {
	engine     Engine
	batch      *batcher
	log        *slog.Logger
	retention  Retention
	keepTasks  TaskRetention
	keepNodes  NodeRetention
	migrations []migrations.Migration // those that this release knows; all if nil
	// schema is the version that the state had when this member began to lead last: what a
	// later one adds is not written yet.
	schema atomic.Int64

	// Owned by the goroutine that makes entries.
	nextSeq int64
	classes classes
	match   string // see Eligibility

	keepsProgress atomic.Bool // see KeepsProgress

	mu    sync.Mutex
	ready chan struct{} // closed while this member leads and takes writes
}

// NewTaskManifest returns a manifest on an engine. Call Run to let it lead.
func NewTaskManifest(engine Engine) *TaskManifest {
	m := &TaskManifest{engine: engine, log: slog.Default(), retention: DefaultRetention, keepTasks: DefaultTaskRetention, keepNodes: DefaultNodeRetention,
		ready: make(chan struct{})}
	m.batch = newBatcher(engine, m.readNow)
	return m
}

// SetPlanner attaches the planner. Call it before Run.
func (m *TaskManifest) SetPlanner(p Planner) { m.batch.planner = p }

// SetLogger replaces the logger. Call it before Run.
func (m *TaskManifest) SetLogger(log *slog.Logger) { m.log = log }

// SetClock replaces the clock by which entries are stamped. Call it before Run.
func (m *TaskManifest) SetClock(now func() time.Time) { m.batch.clock = now }

// NowMs is what the next entry would be stamped with, Unix milliseconds. Only for the
// Planner, in its methods.
func (m *TaskManifest) NowMs() int64 { return m.batch.nowMs() }

// Engine returns the engine below.
func (m *TaskManifest) Engine() Engine { return m.engine }

// Run leads whenever this member is elected, until ctx ends: it applies the
// migrations that are missing, then makes entries of what is submitted.
func (m *TaskManifest) Run(ctx context.Context) error {
	for {
		term, err := m.engine.AwaitLeadership(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := m.lead(ctx, term); err != nil && ctx.Err() == nil {
			m.log.Warn("leadership ended", "term", term.Number, "error", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		select { // a term that failed early is not begun again at once
		case <-term.Done:
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (m *TaskManifest) lead(ctx context.Context, term Term) error {
	waiting, err := m.migrate(ctx, term)
	if err != nil {
		return err
	}
	m.batch.lastNow = max(m.batch.lastNow, term.ClockMs)
	if m.batch.endsSQL = ""; m.groupsEnds() {
		m.batch.endsSQL = sqlTaskEndInsert
	}
	if err := m.load(ctx); err != nil {
		return err
	}
	if p := m.batch.planner; p != nil {
		if err := p.Lead(ctx, m.readNow); err != nil {
			return err
		}
		defer p.Resign()
	}
	m.batch.open()
	defer m.batch.close()
	m.setReady(true)
	defer m.setReady(false)
	m.log.Info("leading", "term", term.Number, "applied_index", m.engine.AppliedIndex())
	m.batch.kick()
	pruning, stop := context.WithCancel(ctx)
	var pruned sync.WaitGroup
	again := make(chan struct{})
	pruned.Go(func() { m.keepPruning(pruning) })
	pruned.Go(func() {
		if m.awaitMigrations(pruning, waiting) {
			close(again) // lead anew: what was read of the state may be another now
		}
	})
	defer pruned.Wait()
	defer stop()
	return m.batch.run(ctx, term, again)
}

// load reads the leader's counters.
func (m *TaskManifest) load(ctx context.Context) error {
	return m.readNow(ctx, func(c Conn) error {
		err := each(c, sqlTaskMaxSeq, func(r Cursor) { m.nextSeq = r.Int(0) + 1 })
		_, err2 := m.seeProgress(c)
		return errors.Join(err, err2, m.classes.load(c), m.loadViews(c))
	})
}

func (m *TaskManifest) setReady(leading bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if leading {
		close(m.ready)
	} else {
		m.ready = make(chan struct{})
	}
}

// refusesWork returns why this member, if it leads, takes no new tasks.
func (m *TaskManifest) refusesWork() error {
	if _, self, ok := m.engine.Leader(); !ok || !self {
		return nil // who leads decides
	}
	return m.engine.Disk().Refuses
}

// IsWritable reports whether this member leads and takes writes.
func (m *TaskManifest) IsWritable() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.ready:
		return true
	default:
		return false
	}
}

// AwaitWritable blocks until this member leads and takes writes.
func (m *TaskManifest) AwaitWritable(ctx context.Context) error {
	m.mu.Lock()
	ready := m.ready
	m.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readNow reads this member's state as it is.
func (m *TaskManifest) readNow(ctx context.Context, fn func(Conn) error) error {
	_, err := m.engine.Read(ctx, ReadOptions{Level: Stale}, fn)
	return err
}

// readShort is readNow of a few rows by their keys.
func (m *TaskManifest) readShort(ctx context.Context, fn func(Conn) error) error {
	_, err := m.engine.Read(ctx, ReadOptions{Level: Stale, Short: true}, fn)
	return err
}

func (m *TaskManifest) read(ctx context.Context, opts []ReadOptions, fn func(Conn) error) error {
	o := ReadOptions{}
	if len(opts) > 0 {
		o = opts[0]
	}
	_, err := m.engine.Read(ctx, o, fn)
	return err
}

// each runs a query and calls fn for each row.
func each(c Conn, sql string, fn func(Cursor), args ...Value) error {
	r, err := c.Query(sql, args...)
	if err != nil {
		return err
	}
	for r.Next() {
		fn(r)
	}
	return r.Close()
}
