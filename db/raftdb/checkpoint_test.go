package raftdb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

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

// checkpointAhead does so as a snapshot does, and not while the member itself uses the
// connection for it.
func checkpointAhead(m *member) error {
	m.engine.snapshotMu.Lock()
	defer m.engine.snapshotMu.Unlock()
	return m.engine.fsm.checkpointAhead()
}

func TestACheckpointAheadLeavesTheFSMNothing(t *testing.T) {
	m := soloWith(t, calmTiming)
	f := m.engine.fsm
	add(t, []*member{m}, "b")
	if index := mainFileIndex(t, m); index >= m.engine.AppliedIndex() {
		t.Fatalf("the main file is at %d before any checkpoint", index)
	}
	if err := checkpointAhead(m); err != nil {
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
	m := soloWith(t, calmTiming)
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
	if err := checkpointAhead(m); err != nil {
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
	m := soloWith(t, calmTiming)
	f := m.engine.fsm
	add(t, []*member{m}, "b")
	if err := f.holds.beginCheckpoint(); err != nil {
		t.Fatal(err)
	}
	if err := checkpointAhead(m); !errors.Is(err, errCheckpoint) {
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

// reading holds a read of the state as it is now until it is ended.
func reading(t *testing.T, m *member) (end func()) {
	t.Helper()
	p := m.engine.fsm.state.readers
	r, err := p.get(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.begin(); err != nil {
		t.Fatal(err)
	}
	return func() {
		r.end()
		p.put(r)
	}
}

// noise is bytes that take as much room in the log, where entries are packed: the same for
// the same name.
func noise(name string, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b)
	return b
}

// addBytes stores a task with a payload and waits for at most d.
func addBytes(t *testing.T, m *member, id string, bytes int, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	_, err := m.tasks.AddTask(ctx, &controlplane.Task{ID: id, Function: &controlplane.Function{Name: "f", Payload: noise(id, bytes)}})
	return err
}

// rounds stores 256 KiB and takes a snapshot, so many times.
func rounds(t *testing.T, m *member, name string, n int) {
	t.Helper()
	for i := range n {
		if err := addBytes(t, m, fmt.Sprint(name, i), 256<<10, testTimeout); err != nil {
			t.Fatal(err)
		}
		if err := m.engine.snapshot(); err != nil {
			t.Fatal(err)
		}
		if left, _, err := m.engine.sinceSnapshot(); err != nil || left != 0 {
			t.Fatalf("%d bytes to be checkpointed after a snapshot, %v", left, err)
		}
	}
}

func TestTheWALIsWrittenFromItsStartAfterASnapshot(t *testing.T) {
	m := soloWith(t, calmTiming)
	rounds(t, m, "first", 1)
	once := m.engine.fsm.state.walFileBytes()
	rounds(t, m, "later", 8)
	if bytes := m.engine.fsm.state.walFileBytes(); bytes < 256<<10 || bytes > 2*once {
		t.Errorf("the WAL's file has %d bytes after nine snapshots, %d after the first", bytes, once)
	}
}

// A read that goes on keeps the WAL from being written from its start, which nobody has
// to wait for; what it grew to meanwhile is given back.
func TestAReadHoldsUpNoSnapshot(t *testing.T) {
	timing := calmTiming
	timing.SnapshotInterval, timing.SnapshotWALBytes = time.Hour, 512<<10
	m := soloWith(t, timing)
	if err := addBytes(t, m, "first", 256<<10, testTimeout); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		end := reading(t, m)
		if err := m.engine.snapshot(); err != nil {
			t.Fatalf("a snapshot while the newest state is read: %v", err)
		}
		if err := addBytes(t, m, fmt.Sprint("more", i), 256<<10, testTimeout); err != nil {
			t.Fatal(err)
		}
		end()
	}
	grown := m.engine.fsm.state.walFileBytes()
	if grown <= walFileFactor*timing.SnapshotWALBytes {
		t.Fatalf("the WAL's file has only %d bytes: it was written from its start under a read", grown)
	}
	rounds(t, m, "after", 2)
	if bytes := m.engine.fsm.state.walFileBytes(); bytes > timing.SnapshotWALBytes {
		t.Errorf("the WAL's file, which had grown to %d bytes, still has %d", grown, bytes)
	}
}

func TestAReadOfAnOlderStateFailsASnapshot(t *testing.T) {
	m := soloWith(t, calmTiming)
	defer reading(t, m)()
	for i, want := range []string{"a read lasted for more than 100ms", "still going on"} { // with little to be moved, and with much
		for j := range 1 + 3*i {
			if err := addBytes(t, m, fmt.Sprint("newer", i, j), 1+i*aheadRestBytes/2, testTimeout); err != nil {
				t.Fatal(err)
			}
		}
		err := m.engine.snapshot()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a snapshot of a main file that lacks what is newer than a read: %v, not %q", err, want)
		}
		if index := m.engine.fsm.state.mainIndex.Load(); index != 0 {
			t.Errorf("the main file is said to be at %d", index)
		}
	}
}

// TestSnapshotsComeByThemselves lets each threshold call for one, under writes.
func TestSnapshotsComeByThemselves(t *testing.T) {
	for name, timing := range map[string]Timing{
		"many entries": {Heartbeat: calmTiming.Heartbeat, SnapshotInterval: 10 * time.Millisecond, SnapshotEntries: 20},
		"a large WAL":  {Heartbeat: calmTiming.Heartbeat, SnapshotInterval: 10 * time.Millisecond, SnapshotEntries: 1 << 40, SnapshotWALBytes: 64 << 10},
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

// TestMembersTakeSnapshotsInTurn: each at another size of the WAL, which is at most what is set
// and not much less.
func TestMembersTakeSnapshotsInTurn(t *testing.T) {
	servers := []raft.Server{{ID: "c"}, {ID: "a"}, {ID: "b"}}
	for id, want := range map[raft.ServerID]float64{"a": 1, "b": 0.809, "c": 0.618} {
		if got := turnOf(id, servers); math.Abs(got-want) > 1e-3 {
			t.Errorf("%s: %g, want %g", id, got, want)
		}
	}
	if got := turnOf("a", servers[1:2]); got != 1 {
		t.Errorf("a member by itself: %g, want 1", got)
	}
	if got := turnOf("d", servers); got < 0.618 || got > 1 {
		t.Errorf("a member that is not one of them: %g", got)
	}
}
