package raftdb

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// fsm is the state machine that Raft drives: the database in use. Its methods run
// on Raft's one FSM goroutine.
type fsm struct {
	e *Engine

	// mu lets reads keep the database while an install would replace it.
	mu    sync.RWMutex
	state *database
	// hurry asks what keeps the database for long to give it back.
	hurry atomic.Bool

	applied watermark
	// handed is the highest index that Raft has handed over since the start.
	handed uint64
	// installed is the index of the last state received from a leader.
	installed uint64
	// halted is why nothing is applied any more by a member that is being closed.
	halted error
	// pending is a received state that Raft is about to restore.
	pending *database

	holds  holds
	hashes hashes

	knownMu   sync.Mutex
	clusterID string
	removed   map[raft.ServerID]uint64
}

var (
	_ raft.BatchingFSM        = (*fsm)(nil)
	_ raft.ConfigurationStore = (*fsm)(nil)
)

func newFSM(e *Engine, state *database) *fsm {
	f := &fsm{e: e, state: state, clusterID: state.meta.clusterID, removed: state.meta.removed}
	f.applied.store(state.meta.appliedIndex)
	return f
}

func (f *fsm) close() error {
	f.hurry.Store(true)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.close()
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// StoreConfiguration implements raft.ConfigurationStore; ApplyBatch is what Raft
// calls for configurations too.
func (f *fsm) StoreConfiguration(index uint64, c raft.Configuration) {
	f.ApplyBatch([]*raft.Log{{Index: index, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(c)}})
}

// ApplyBatch implements raft.BatchingFSM. After a failure that is this member's
// own nothing is applied any more: the index stays where the state is.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	err := cmp.Or(f.e.Err(), f.halted)
	for done := 0; err == nil && done < len(logs); {
		n := upToVerify(logs[done:])
		before := f.state.meta.appliedIndex
		if err = f.applyWithRoom(logs[done:done+n], out[done:done+n]); err != nil {
			err = fmt.Errorf("cannot apply the log to the database: %w", err)
			if f.halted == nil {
				f.e.fail(err)
			}
			break
		}
		done += n
		if last := logs[done-1]; isVerify(last) && last.Index > before {
			f.hashes.start(f.state, last.Index)
		}
	}
	if err != nil {
		for i := range out {
			out[i] = outcome{err: err}
		}
		return out
	}
	f.handed = logs[len(logs)-1].Index
	f.learn(&f.state.meta)
	f.applied.store(f.state.meta.appliedIndex)
	return out
}

// upToVerify is how many entries go into one transaction: a verify entry ends it, so
// that every replica hashes the state at that very index.
func upToVerify(logs []*raft.Log) int {
	for i, l := range logs {
		if isVerify(l) {
			return i + 1
		}
	}
	return len(logs)
}

func isVerify(l *raft.Log) bool {
	return l.Type == raft.LogCommand && len(l.Data) > 0 && l.Data[0] == kindVerify
}

// learn lets other goroutines know what the state says of the cluster.
func (f *fsm) learn(m *meta) {
	f.knownMu.Lock()
	defer f.knownMu.Unlock()
	f.clusterID, f.removed = m.clusterID, m.removed
}

func (f *fsm) cluster() string {
	f.knownMu.Lock()
	defer f.knownMu.Unlock()
	return f.clusterID
}

// removedAt is the index at which a server was taken out, 0 if it was not.
func (f *fsm) removedAt(id raft.ServerID) uint64 {
	f.knownMu.Lock()
	defer f.knownMu.Unlock()
	return f.removed[id]
}

// Snapshot implements raft.FSM: a complete checkpoint, after which the main file
// is exactly the state at this index until the next one.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	d := f.state
	if err := f.e.Err(); err != nil {
		return nil, err
	}
	if f.handed < d.meta.appliedIndex {
		return nil, errors.New("the log is still being replayed")
	}
	if err := f.holds.beginCheckpoint(); err != nil {
		return nil, err
	}
	defer f.holds.endCheckpoint()
	if err := d.checkpoint(walFileFactor * f.e.cfg.Timing.SnapshotWALBytes); err != nil {
		return nil, err
	}
	return &fsmSnapshot{f: f, state: d, index: d.meta.appliedIndex}, nil
}

// Restore implements raft.FSM: it puts the state that was received, verified and
// synced by the snapshot sink into use.
func (f *fsm) Restore(io.ReadCloser) error {
	next := f.pending
	f.pending = nil
	if next == nil {
		return errors.New("no received state to restore")
	}
	if err := f.e.dir.use(next.gen); err != nil {
		return errors.Join(err, next.close())
	}
	f.hurry.Store(true)
	f.mu.Lock()
	old := f.state
	f.state = next
	f.mu.Unlock()
	f.hurry.Store(false)
	f.handed, f.installed = next.meta.appliedIndex, next.meta.appliedIndex
	f.learn(&next.meta)
	f.applied.store(next.meta.appliedIndex)
	if err := f.e.entries.use(next.meta.appliedIndex, f.receivedTerm()); err != nil {
		return err
	}
	f.e.log.Info("received the state from the leader", "applied_index", next.meta.appliedIndex)
	if err := errors.Join(old.close(), os.RemoveAll(old.gen.path)); err != nil { // the new state is in use all the same
		f.e.log.Warn("the state before it is not removed: the next start does that", "directory", old.gen.path, "error", err)
	}
	return nil
}
