package raftdb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/hashicorp/raft"
	"zombiezen.com/go/sqlite"
)

const (
	// aheadPasses is how many passes there are at most ahead of a checkpoint, and
	// aheadRestBytes what they may leave of the WAL.
	aheadPasses    = 8
	aheadRestBytes = 1 << 20
	// pieceBytes is how much is written to the disk at once beside the log's syncs.
	pieceBytes = 1 << 20
	// shortPiece is how long a piece takes that had nothing to be written.
	shortPiece = 50 * time.Microsecond
	// walCheck is how often it is looked at how much SQLite's WAL holds, at least.
	walCheck = 100 * time.Millisecond
	// readsWait is how long a checkpoint, for which the FSM stops, waits for reads of
	// older states to end, and restartWait for those of the newest: while they last, the
	// next commit cannot begin the WAL anew, which another one then does.
	readsWait   = 100 * time.Millisecond
	restartWait = 5 * time.Millisecond
	// snapshotRetry is when a snapshot that failed is tried again, at the earliest.
	snapshotRetry = time.Second
	// walFileFactor times as large as what calls for a snapshot, a WAL file is truncated.
	walFileFactor = 4
)

// keepSnapshots takes a snapshot when SQLite's WAL holds much that is not in the main
// file, or much has been logged since the last one. Raft itself is told never to.
// What is much differs from member to member: see turn.
func (e *Engine) keepSnapshots(ctx context.Context) {
	t := e.cfg.Timing
	tick := time.NewTicker(min(walCheck, t.SnapshotInterval))
	defer tick.Stop()
	var failed time.Time
	for looked := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		wal, entries, err := e.sinceSnapshot()
		share := e.turn()
		due := float64(wal) >= share*float64(t.SnapshotWALBytes)
		if time.Since(looked).Seconds() >= share*t.SnapshotInterval.Seconds() {
			looked = time.Now()
			due = due || entries >= t.SnapshotEntries
		}
		if err == nil && due && time.Since(failed) >= snapshotRetry {
			err = e.snapshot()
		}
		if err != nil {
			failed = time.Now()
			e.log.Debug("no snapshot now", "wal_bytes", wal, "entries", entries, "error", err)
		}
	}
}

// turn is the share of what calls for a snapshot that does so at this member. Members apply
// the same entries: with the same bounds all would take their snapshots at the same time, and no
// majority would be left whose log is synced as fast as ever.
func (e *Engine) turn() float64 { return turnOf(e.self.serverID(), e.servers()) }

// turnOf is 1 for the first of the servers by their ids, and less for each that follows,
// down to the golden section, of whose multiples few meet.
func turnOf(self raft.ServerID, servers []raft.Server) float64 {
	before := 0
	for _, s := range servers {
		if s.ID < self {
			before++
		}
	}
	return 1 - (1-1/math.Phi)*float64(before)/float64(max(1, before, len(servers)-1))
}

// sinceSnapshot is how much there is to be checkpointed.
func (e *Engine) sinceSnapshot() (walBytes int64, entries uint64, err error) {
	e.snapshotMu.Lock()
	defer e.snapshotMu.Unlock()
	e.fsm.mu.RLock()
	defer e.fsm.mu.RUnlock()
	walBytes, err = e.fsm.state.walLeft()
	return walBytes, e.AppliedIndex() - e.fsm.state.mainIndex.Load(), err
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
	for range aheadPasses {
		p, err := f.passAhead(d)
		if err != nil {
			return fmt.Errorf("checkpoint ahead: %w", err)
		}
		if p.left()*pageBytes > aheadRestBytes { // the FSM must not stop for it
			return fmt.Errorf("a read that began %d pages of the WAL ago is still going on", p.left())
		}
		if left, err := d.walLeft(); err != nil || left <= aheadRestBytes || f.hurry.Load() {
			return err
		}
	}
	return nil
}

// passAhead moves what the WAL holds by now and sees it written to the disk.
//
// SQLite syncs the WAL first, and the main file if nothing was committed meanwhile; under
// load that is left to the FSM's checkpoint. Tens of megabytes synced at once hold up the
// syncs of the log, and with them every write, so before each sync the file is written
// piece by piece, each followed by a pause as long as it took.
func (f *fsm) passAhead(d *database) (p pass, err error) {
	wal, err := os.Open(d.gen.database() + "-wal")
	if err != nil {
		return p, err
	}
	f.writeInPieces(wal)
	if err = wal.Close(); err != nil {
		return p, err
	}
	if p, err = checkpointPass(d.beside, sqlCheckpoint); err != nil {
		return p, err
	}
	f.writeInPieces(d.main)
	return p, d.main.Sync()
}

// writeInPieces writes a file to the disk. What fails is left to the sync that follows.
func (f *fsm) writeInPieces(file *os.File) {
	info, err := file.Stat()
	if err != nil {
		return
	}
	for at := int64(0); at < info.Size() && !f.hurry.Load(); at += pieceBytes {
		begun := time.Now()
		if writeBack(file, at, pieceBytes) != nil {
			return
		}
		if took := time.Since(begun); took > shortPiece {
			time.Sleep(took)
		}
	}
}

const (
	// sqlCheckpoint waits for nobody, sqlCheckpointRestart for reads of the WAL to end,
	// so that the next commit writes over what it holds, sqlCheckpointTruncate for the
	// same, and empties the file. sqlCheckpointNone only tells how much there is.
	sqlCheckpoint         = "PRAGMA wal_checkpoint(PASSIVE)"
	sqlCheckpointRestart  = "PRAGMA wal_checkpoint(RESTART)"
	sqlCheckpointTruncate = "PRAGMA wal_checkpoint(TRUNCATE)"
	sqlCheckpointNone     = "PRAGMA wal_checkpoint(NOOP)"
)

// checkpoint moves all of the WAL into the main file and syncs it. It fails if not
// all could be moved; the main file is then no complete state by itself.
//
// The file of the WAL stays as large as it was, and is written again from its start:
// truncating one of 64 MiB took 25 ms, in which nothing was applied.
func (d *database) checkpoint(maxFileBytes int64) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.undoAhead(); err != nil {
		return err
	}
	d.mainIndex.Store(0)
	// This pass waits for nobody, and leaves something only if a read that is still going
	// on began before the last commit.
	r, err := checkpointPass(d.conn, sqlCheckpoint)
	if err != nil {
		return err
	}
	again, wait := sqlCheckpointRestart, restartWait
	if r.left() != 0 {
		wait = readsWait
	}
	if d.walFileBytes() > maxFileBytes {
		again = sqlCheckpointTruncate
	}
	d.conn.SetBusyTimeout(wait)
	r, err = checkpointPass(d.conn, again)
	d.conn.SetBusyTimeout(busyWait)
	if err != nil {
		return err
	}
	if r.left() != 0 {
		return fmt.Errorf("checkpoint incomplete: a read lasted for more than %s (%d pages left)", wait, r.left())
	}
	d.mainIndex.Store(d.meta.appliedIndex)
	return nil
}

// pass is what SQLite says of a checkpoint: how many pages the WAL held when it began, and
// how many of them are in the main file too.
type pass struct{ pages, moved int64 }

func (p pass) left() int64 { return p.pages - p.moved }

func checkpointPass(conn *sqlite.Conn, sql string) (p pass, err error) {
	s, err := conn.Prepare(sql)
	if err != nil {
		return p, fmt.Errorf("checkpoint: %w", err)
	}
	defer s.Reset()
	if ok, err := s.Step(); err != nil || !ok {
		return p, fmt.Errorf("checkpoint: %w", err)
	}
	return pass{s.ColumnInt64(1), s.ColumnInt64(2)}, nil
}

// walLeft is how much the WAL holds that is not in the main file.
func (d *database) walLeft() (int64, error) {
	p, err := checkpointPass(d.beside, sqlCheckpointNone)
	return p.left() * pageBytes, err
}

// walFileBytes is the size of the WAL's file.
func (d *database) walFileBytes() int64 {
	info, err := os.Stat(d.gen.database() + "-wal")
	if err != nil {
		return 0
	}
	return info.Size()
}
