package db

import (
	"context"
	"time"
)

const (
	// pruneInterval is how often the leader looks for what is too old.
	pruneInterval = 10 * time.Second
	// pruneStep bounds the rows that one operation deletes: others wait for its entry.
	pruneStep = 200
)

// Retention says which changes are kept for watchers; those beyond either bound
// are deleted. No bound if 0.
type Retention struct {
	// Entries keeps the changes in this many of the newest entries of the log.
	Entries uint64
	// Age keeps changes that are not older.
	Age time.Duration
}

// DefaultRetention is what is kept if nothing else is set.
var DefaultRetention = Retention{Entries: 1_000_000, Age: 7 * 24 * time.Hour}

// SetRetention replaces DefaultRetention. Call it before Run.
func (m *TaskManifest) SetRetention(r Retention) { m.retention = r }

// keepPruning deletes what is no longer kept, while this member leads.
func (m *TaskManifest) keepPruning(ctx context.Context) {
	for {
		select {
		case <-time.After(pruneInterval):
		case <-ctx.Done():
			return
		}
		if err := m.prune(ctx); err != nil && ctx.Err() == nil {
			m.log.Debug("could not prune; trying again", "error", err)
		}
	}
}

func (m *TaskManifest) prune(ctx context.Context) error {
	_, err := m.PruneEvents(ctx, m.retention)
	if err != nil {
		return err
	}
	if _, err := m.PruneNodes(ctx, m.keepNodes); err != nil {
		return err
	}
	n, err := m.PruneTasks(ctx, m.keepTasks)
	if err != nil || n == 0 {
		return err
	}
	return m.PruneClasses(ctx)
}

// PruneEvents deletes the changes that are no longer kept and returns the cursor
// behind the last of them, the zero cursor if there was none. The leader does so by
// itself. Each step goes through the log in an entry that others share.
func (m *TaskManifest) PruneEvents(ctx context.Context, keep Retention) (floor EventCursor, err error) {
	// Changes at or below the first or before the second are not kept.
	var index, timeMs int64
	if applied := m.engine.AppliedIndex(); keep.Entries > 0 && applied > keep.Entries {
		index = int64(applied - keep.Entries)
	}
	if keep.Age > 0 {
		timeMs = time.Now().Add(-keep.Age).UnixMilli()
	}
	for {
		upTo, rows, err := m.prunable(ctx, index, timeMs)
		if err != nil || rows == 0 {
			return floor, err
		}
		if err := m.Do(ctx, 0, func(g *Group) { g.Add(pruneOp(upTo), nil) }); err != nil {
			return floor, err
		}
		floor = upTo
		if rows < pruneStep {
			return floor, nil
		}
	}
}

// prunable returns the end of the next step, and how many rows it deletes.
func (m *TaskManifest) prunable(ctx context.Context, index, timeMs int64) (upTo EventCursor, rows int64, err error) {
	err = m.readNow(ctx, func(c Conn) error {
		return each(c, sqlEventPrunable, func(r Cursor) {
			upTo, rows = EventCursor{Index: uint64(r.Int(0)), Ordinal: int(r.Int(1))}, r.Int(2)
		}, Int(index), Int(timeMs), Int(pruneStep))
	})
	return upTo, rows, err
}

// pruneOp deletes the changes up to a cursor, which is behind the last change of its
// entry, and raises the floor to it.
func pruneOp(upTo EventCursor) *Op {
	return &Op{Savepoint: true, Steps: []Step{
		{SQL: sqlEventFloorRaise, Args: []Value{Int(int64(upTo.Index)), Int(int64(upTo.Ordinal))}},
		{SQL: sqlEventPrune, Args: []Value{Int(int64(upTo.Index))}},
	}}
}
