package raftdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// aheadPass is how long a pass ahead of a checkpoint may take for the rest to be
	// short, and aheadPasses how many there are at most.
	aheadPass   = 20 * time.Millisecond
	aheadPasses = 5
	// walCheck is how often the size of SQLite's WAL is looked at, at least.
	walCheck = time.Second
)

// keepSnapshots takes a snapshot when SQLite's WAL has grown large, or much has been
// logged since the last one. Raft itself is told never to.
func (e *Engine) keepSnapshots(ctx context.Context) {
	t := e.cfg.Timing
	tick := time.NewTicker(min(walCheck, t.SnapshotInterval))
	defer tick.Stop()
	for looked := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		wal, entries := e.sinceSnapshot()
		due := wal >= t.SnapshotWALBytes
		if time.Since(looked) >= t.SnapshotInterval {
			looked = time.Now()
			due = due || entries >= t.SnapshotEntries
		}
		if !due {
			continue
		}
		if err := e.snapshot(); err != nil {
			e.log.Debug("no snapshot now", "wal_bytes", wal, "entries", entries, "error", err)
		}
	}
}

// sinceSnapshot is how much there is to be checkpointed.
func (e *Engine) sinceSnapshot() (walBytes int64, entries uint64) {
	e.fsm.mu.RLock()
	defer e.fsm.mu.RUnlock()
	return e.fsm.state.walBytes(), e.AppliedIndex() - e.fsm.state.mainIndex.Load()
}

// snapshot takes a snapshot, and does what can be done of it while entries are applied.
func (e *Engine) snapshot() error {
	e.snapshotMu.Lock()
	defer e.snapshotMu.Unlock()
	if err := e.fsm.checkpointAhead(); err != nil {
		return err
	}
	if err := e.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return err
	}
	return nil
}

// checkpointAhead moves most of the WAL into the main file beside the FSM, on a
// connection of its own, so that the checkpoint for which the FSM stops has little left.
// Until that one is complete the main file is the state at no index.
func (f *fsm) checkpointAhead() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := f.state
	if f.applied.load() == d.mainIndex.Load() {
		return nil
	}
	if err := f.holds.beginCheckpoint(); err != nil {
		return err
	}
	defer f.holds.endCheckpoint()
	d.mainIndex.Store(0)
	conn, err := openWriter(d.gen.database())
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	for range aheadPasses {
		begun := time.Now()
		if err = script(conn, sqlCheckpoint); err != nil || time.Since(begun) < aheadPass {
			break
		}
	}
	return errors.Join(err, conn.Close())
}

const (
	// sqlCheckpoint waits for nobody, sqlCheckpointAll for reads to end.
	sqlCheckpoint    = "PRAGMA wal_checkpoint(PASSIVE)"
	sqlCheckpointAll = "PRAGMA wal_checkpoint(TRUNCATE)"
)

// checkpoint moves all of the WAL into the main file and syncs it. It fails if not
// all could be moved; the main file is then no complete state by itself.
func (d *database) checkpoint() error {
	d.mainIndex.Store(0)
	// The first pass waits for nobody and does most; the second has little left.
	if _, _, err := d.checkpointPass(sqlCheckpoint); err != nil {
		return err
	}
	busy, left, err := d.checkpointPass(sqlCheckpointAll)
	if err != nil {
		return err
	}
	if busy || left != 0 {
		return fmt.Errorf("checkpoint incomplete: a read lasted for more than %s (%d pages left)", truncateWait, left)
	}
	d.mainIndex.Store(d.meta.appliedIndex)
	return nil
}

func (d *database) checkpointPass(sql string) (busy bool, left int64, err error) {
	s, err := d.stmt(sql)
	if err != nil {
		return false, 0, err
	}
	defer s.Reset()
	if ok, err := s.Step(); err != nil || !ok {
		return false, 0, fmt.Errorf("checkpoint: %w", err)
	}
	return s.ColumnInt64(0) != 0, s.ColumnInt64(1) - s.ColumnInt64(2), nil
}

// walBytes is the size of the WAL.
func (d *database) walBytes() int64 {
	info, err := os.Stat(d.gen.database() + "-wal")
	if err != nil {
		return 0
	}
	return info.Size()
}
