package raftdb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	"zombiezen.com/go/sqlite"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// A full disk is met at three levels. Below the floor (Config.MinFreeBytes) the leader
// refuses new work, so that what is under way can end and old tasks can be deleted.
// Below the reserve the log takes nothing: raft-wal does not go on from a file that
// it could not make, so none is begun without room for it. And what SQLite cannot
// write for lack of room is tried again, since the log has it.
const (
	// diskInterval is how often the free bytes are looked at.
	diskInterval = 500 * time.Millisecond
	// othersInterval is how often the leader asks the other members.
	othersInterval = 2 * time.Second
	// reserveBeside is kept free beside the next file of the log: for its record, the
	// vote and SQLite's index of the WAL.
	reserveBeside = 4 << 20
)

// ReasonDiskLow is the reason of an error about new work that is refused.
const ReasonDiskLow = "DISK_LOW"

// errLogFull: the log was not touched.
var errLogFull = errors.New("no room for the log")

// diskWatch knows what is free in the file system of the data directory.
type diskWatch struct {
	dir     string
	floor   int64
	reserve int64

	mu   sync.Mutex
	free int64
	err  error // it cannot be told
	// low are the other voters that are below their floor.
	low []string
	// majority says that with them too few are left to commit.
	majority bool
	// full is why nothing can be written at present.
	full error
}

func newDiskWatch(cfg *Config) *diskWatch {
	w := &diskWatch{dir: cfg.Dir, floor: cfg.MinFreeBytes, reserve: int64(cfg.Timing.SegmentBytes) + reserveBeside}
	_, _ = w.look() // whether it can be told is kept
	return w
}

// look asks the file system.
func (w *diskWatch) look() (free int64, err error) {
	free, err = freeBytes(w.dir)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free, w.err = free, err
	return free, err
}

// admit reports whether the log may take so many bytes: whether the file that may
// have to be begun has room.
func (w *diskWatch) admit(bytes int64) error {
	free, err := w.look()
	need := w.reserve + bytes
	if err != nil || free >= need { // if it cannot be told the write will tell
		w.logHasRoom()
		return nil
	}
	err = fmt.Errorf("%w: %d bytes are free where %s is and the log needs %d: make room there, or let retention delete more", errLogFull, free, w.dir, need)
	w.setFull(err)
	return err
}

// logHasRoom takes back that the log has none.
func (w *diskWatch) logHasRoom() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.Is(w.full, errLogFull) {
		w.full = nil
	}
}

func (w *diskWatch) setFull(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full = err
}

// isLow reports whether this member is below its floor.
func (w *diskWatch) isLow() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lowLocked()
}

func (w *diskWatch) lowLocked() bool { return w.err == nil && w.free < w.floor }

func (w *diskWatch) setOthers(low []string, majority bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.low, w.majority = low, majority
}

// state is what the engine says of its disk.
func (w *diskWatch) state() db.Disk {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := db.Disk{FreeBytes: w.free, FloorBytes: w.floor, Full: w.full}
	switch {
	case w.lowLocked():
		d.Refuses = diskLow(fmt.Sprintf("the disk of the leader is nearly full: %d bytes are free where its data is and new tasks need %d (serve --min-free-bytes)", w.free, w.floor))
	case w.majority:
		d.Refuses = diskLow(fmt.Sprintf("the disks of %v are nearly full: without them no majority has room for new tasks (serve --min-free-bytes)", w.low))
	}
	return d
}

func diskLow(what string) error {
	return &controlplane.Error{Code: controlplane.CodeExhausted, Reason: ReasonDiskLow,
		Message: what + "; running tasks go on: make room there, or let tasks be deleted sooner (--task-retention), then submit again"}
}

// Disk implements db.Engine.
func (e *Engine) Disk() db.Disk { return e.disk.state() }

// watchDisk follows the disk, and on the leader those of the others.
func (e *Engine) watchDisk(ctx context.Context) {
	tick := time.NewTicker(diskInterval)
	defer tick.Stop()
	said := newReason(e)
	for asked := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if free, err := e.disk.look(); err == nil && free >= e.disk.reserve {
			e.disk.logHasRoom()
		}
		if time.Since(asked) >= othersInterval {
			asked = time.Now()
			e.askOthersDisks(ctx)
		}
		if s := e.disk.state(); s.Full != nil {
			said.say("this member's disk is full", s.Full)
		} else if s.Refuses != nil && e.leader.serving() != nil {
			said.say("new tasks are refused", s.Refuses)
		} else {
			said.last = ""
		}
	}
}

// askOthersDisks looks whether so many voters are short of room that those that have
// it are no majority. One that does not answer is not counted: whether it is there at
// all is Raft's to find out.
func (e *Engine) askOthersDisks(ctx context.Context) {
	voters := e.voters()
	if e.leader.serving() == nil || len(voters) < 2 {
		e.disk.setOthers(nil, false)
		return
	}
	var others []string
	for _, v := range voters {
		if v.ID != e.self.serverID() {
			others = append(others, string(v.Address))
		}
	}
	var low []string
	for _, a := range e.ask(ctx, others) {
		if a.err == nil && a.info.DiskLow {
			low = append(low, a.info.Name)
		}
	}
	e.disk.setOthers(low, len(voters)-len(low) <= len(voters)/2)
}

// retryFull is how often what SQLite had no room for is tried again.
const retryFull = 500 * time.Millisecond

// applyWithRoom applies entries, again and again while there is no room: they are in
// the log, and SQLite has undone what it began. Meanwhile another member should lead.
func (f *fsm) applyWithRoom(logs []*raft.Log, out []any) error {
	for first := true; ; first = false {
		err := f.state.apply(logs, out)
		if err == nil || !isFull(err) {
			if !first {
				f.e.disk.setFull(nil)
			}
			return err
		}
		clear(out)
		f.e.disk.setFull(fmt.Errorf("the database has no room for log entry %d (%w): make room where %s is", logs[0].Index, err, f.e.cfg.Dir))
		if first {
			f.e.log.Error("the database has no room; trying again until it has", "data_dir", f.e.cfg.Dir, "error", err)
			go f.e.handOver()
		}
		select {
		case <-time.After(retryFull):
		case <-f.e.closed:
			f.halted = err // what follows may not be applied without it
			return err
		}
	}
}

// handOver lets another member lead, if one can.
func (e *Engine) handOver() {
	<-e.started
	if e.leader.serving() == nil || len(e.voters()) < 2 {
		return
	}
	if _, err := e.TransferLeadership(context.Background(), ""); err != nil {
		e.log.Warn("leadership stays at a member whose disk is full", "error", err)
	}
}

// isFull reports whether SQLite failed for lack of room.
func isFull(err error) bool {
	if errors.Is(err, syscall.ENOSPC) {
		return true
	}
	code := sqlite.ErrCode(err)
	return code.ToPrimary() == sqlite.ResultFull || code == sqlite.ResultIOErrSHMSize
}
