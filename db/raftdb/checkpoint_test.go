package raftdb

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// mainFileIndex is the index of the state that the main file alone is.
func mainFileIndex(t *testing.T, m *member) uint64 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "main.db")
	if err := copyFile(path, m.engine.fsm.state.gen.database()); err != nil {
		t.Fatal(err)
	}
	r, err := (&pool{path: path}).open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.conn.Close() }()
	defer r.end()
	index, err := r.begin()
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// soloWith is a cluster of one that holds a task and its snapshot.
func soloWith(t *testing.T, timing Timing) *member {
	t.Helper()
	m := newMember(t, "solo")
	m.cfg.Timing = timing
	m.start()
	add(t, []*member{m}, "a")
	if err := m.engine.snapshot(); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestACheckpointAheadLeavesTheFSMNothing(t *testing.T) {
	m := soloWith(t, fastTiming)
	f := m.engine.fsm
	add(t, []*member{m}, "b")
	if index := mainFileIndex(t, m); index >= m.engine.AppliedIndex() {
		t.Fatalf("the main file is at %d before any checkpoint", index)
	}
	if err := f.checkpointAhead(); err != nil {
		t.Fatal(err)
	}
	if index := mainFileIndex(t, m); index != m.engine.AppliedIndex() {
		t.Errorf("the main file is at %d, not %d", index, m.engine.AppliedIndex())
	}
	add(t, []*member{m}, "c")
	if err := m.engine.snapshot(); err != nil {
		t.Fatal(err)
	}
	if index := mainFileIndex(t, m); index != m.engine.AppliedIndex() || f.state.mainIndex.Load() != index {
		t.Errorf("after a snapshot the main file is at %d, said to be at %d, not %d", index, f.state.mainIndex.Load(), m.engine.AppliedIndex())
	}
}

// A main file that a checkpoint has begun to change is the state at no index: it must
// not be sent as the snapshot that it was.
func TestAMainFileThatHasMovedOnIsNotSent(t *testing.T) {
	m := soloWith(t, fastTiming)
	store := &snapshotStore{e: m.engine}
	send := func() error {
		list, err := store.List()
		if err != nil || len(list) != 1 {
			t.Fatalf("snapshots: %v, %v", list, err)
		}
		_, r, err := store.Open(list[0].ID)
		if err == nil {
			err = r.Close()
		}
		return err
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	add(t, []*member{m}, "b")
	if err := m.engine.fsm.checkpointAhead(); err != nil {
		t.Fatal(err)
	}
	if err := send(); err == nil {
		t.Error("it is sent")
	}
	if err := m.engine.snapshot(); err != nil {
		t.Fatal(err)
	}
	if err := send(); err != nil {
		t.Errorf("after the snapshot: %v", err)
	}
}

func TestOneCheckpointAtATime(t *testing.T) {
	m := soloWith(t, fastTiming)
	f := m.engine.fsm
	add(t, []*member{m}, "b")
	if err := f.holds.beginCheckpoint(); err != nil {
		t.Fatal(err)
	}
	if err := f.checkpointAhead(); !errors.Is(err, errCheckpoint) {
		t.Errorf("ahead: %v", err)
	}
	if _, err := f.Snapshot(); !errors.Is(err, errCheckpoint) {
		t.Errorf("a snapshot: %v", err)
	}
	f.holds.endCheckpoint()
	if err := m.engine.snapshot(); err != nil {
		t.Error(err)
	}
}

// TestSnapshotsComeByThemselves lets each threshold call for one, under writes.
func TestSnapshotsComeByThemselves(t *testing.T) {
	for name, timing := range map[string]Timing{
		"many entries": {Heartbeat: fastTiming.Heartbeat, SnapshotInterval: 10 * time.Millisecond, SnapshotEntries: 20},
		"a large WAL":  {Heartbeat: fastTiming.Heartbeat, SnapshotInterval: 10 * time.Millisecond, SnapshotEntries: 1 << 40, SnapshotWALBytes: 64 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			m := soloWith(t, timing)
			first := m.engine.AppliedIndex()
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() {
					for i := range 50 {
						if _, err := m.tasks.AddTask(testContext(t), &controlplane.Task{ID: fmt.Sprintf("%d-%d", w, i), Exec: &controlplane.Exec{Command: []string{"true"}}}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			for ctx := testContext(t); ; time.Sleep(time.Millisecond) { // nothing tells of a snapshot
				if r, err := readRecord(m.engine.fsm.state.gen); err != nil || r.Index >= first+20 {
					if err != nil {
						t.Error(err)
					}
					break
				}
				if ctx.Err() != nil {
					t.Fatal("no snapshot comes")
				}
			}
			m.close()
			if err := m.tryStart(); err != nil {
				t.Fatal(err)
			}
			leader(t, []*member{m})
			if tasks, err := m.tasks.ListTasks(testContext(t), controlplane.TaskFilter{}, 0, 1000); err != nil || len(tasks) != 201 {
				t.Errorf("%d tasks after a restart, %v", len(tasks), err)
			}
		})
	}
}
