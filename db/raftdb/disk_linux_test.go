package raftdb

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// smallDisk mounts a file system of a few bytes at a directory.
func smallDisk(t *testing.T, dir string, bytes int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("no small file system for this test, as this user may not mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
}

// fillDisk writes a file until only so many bytes are free, and returns what removes it.
func fillDisk(t *testing.T, dir string, leave int64) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	free, err := freeBytes(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, zeros{}, free-leave); err != nil {
		t.Fatal(err)
	}
	f.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// whole checks that a member has the tasks, and a sound database.
func whole(t *testing.T, m *member, ids []string) {
	t.Helper()
	for _, id := range ids {
		if _, err := m.tasks.GetTask(testContext(t), id); err != nil {
			t.Errorf("%s was acknowledged: %v", id, err)
		}
	}
	_, err := m.engine.Read(testContext(t), db.ReadOptions{}, func(c db.Conn) error {
		said, err := texts(c.(*reader).conn, "PRAGMA integrity_check")
		if err == nil && strings.Join(said, " ") != "ok" {
			err = errors.New(strings.Join(said, "; "))
		}
		return err
	})
	if err != nil {
		t.Errorf("the database: %v", err)
	}
}

func TestNewTasksAreRefusedBelowTheFloor(t *testing.T) {
	m := newMember(t, "m1")
	m.cfg.MinFreeBytes, m.cfg.Timing.SegmentBytes = 32<<20, 1<<20
	smallDisk(t, m.cfg.Dir, 64<<20)
	m.start()
	for _, id := range []string{"a", "b", "c"} {
		add(t, []*member{m}, id)
	}
	empty := fillDisk(t, m.cfg.Dir, 20<<20)
	var refused *controlplane.Error
	until(t, "a refusal", func() bool { return errors.As(addBytes(t, m, "", 10, testTimeout), &refused) })
	free := m.engine.Disk().FreeBytes
	if refused.Code != controlplane.CodeExhausted || refused.Reason != ReasonDiskLow || free > 20<<20 {
		t.Errorf("refused as %+v, with %d bytes free", refused, free)
	}
	for _, want := range []string{fmt.Sprint(free), "need 33554432", "--min-free-bytes", "make room", "submit again"} {
		if !strings.Contains(refused.Message, want) {
			t.Errorf("%q is not in %q", want, refused.Message)
		}
	}
	again := []*controlplane.Task{{ID: "c", Exec: &controlplane.Exec{Command: []string{"true"}}}}
	if out, err := m.tasks.AddTasks(testContext(t), again); err != nil || out[0].Err != nil || out[0].Task.ID != "c" {
		t.Errorf("a repeat of what is stored: %+v, %v", out, err)
	}
	again = append(again, &controlplane.Task{ID: "new", Exec: again[0].Exec})
	if _, err := m.tasks.AddTasks(testContext(t), again); controlplane.CodeOf(err) != controlplane.CodeExhausted {
		t.Errorf("a repeat together with a new task: %v", err)
	}
	if _, err := m.tasks.CancelTask(testContext(t), "a"); err != nil {
		t.Errorf("cancel: %v", err)
	}
	registerNode(t, m, "n")
	if err := m.tasks.AssignTask(testContext(t), "b", "n"); err != nil {
		t.Errorf("assign: %v", err)
	}
	if err := m.tasks.CompleteTask(testContext(t), "b", []byte("result")); err != nil {
		t.Errorf("complete: %v", err)
	}
	time.Sleep(2 * time.Millisecond) // so that both ended longer ago than that
	if n, err := m.tasks.PruneTasks(testContext(t), db.TaskRetention{Age: time.Millisecond}); err != nil || n != 2 {
		t.Errorf("%d tasks deleted, %v", n, err)
	}
	if err := m.tasks.CaughtUp(testContext(t)); err != nil {
		t.Errorf("not ready for what still works: %v", err)
	}
	empty()
	until(t, "new tasks after room was made", func() bool { return addBytes(t, m, "later", 10, testTimeout) == nil })
	whole(t, m, []string{"c", "later"})
}

func registerNode(t *testing.T, m *member, id string) {
	t.Helper()
	spec := controlplane.NodeSpec{Slots: 9, Exec: true, Functions: []string{"f"}, Capacity: controlplane.Resources{CPUMillis: 9000, MemoryBytes: 1 << 30}}
	if err := m.tasks.RegisterNode(testContext(t), id, "session", spec); err != nil {
		t.Fatal(err)
	}
}

func TestNewTasksNeedRoomAtAMajority(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	lead := leader(t, members)
	short := func(m *member, floor int64) {
		m.engine.disk.mu.Lock()
		defer m.engine.disk.mu.Unlock()
		m.engine.disk.floor = floor
	}
	low := func() int {
		lead.engine.askOthersDisks(testContext(t))
		lead.engine.disk.mu.Lock()
		defer lead.engine.disk.mu.Unlock()
		return len(lead.engine.disk.low)
	}
	followers := 0
	for _, m := range members {
		if m == lead {
			continue
		}
		followers++
		short(m, 1<<62)
		if n := low(); n != followers {
			t.Fatalf("%d members are low, want %d", n, followers)
		}
		err := addBytes(t, lead, fmt.Sprint("with", followers), 1, testTimeout)
		if followers == 1 && err != nil {
			t.Errorf("with one of three short of room: %v", err)
		}
		if followers == 2 && (controlplane.CodeOf(err) != controlplane.CodeExhausted || !strings.Contains(err.Error(), m.cfg.Name)) {
			t.Errorf("with two of three short of room: %v", err)
		}
	}
	for _, m := range members {
		short(m, 0)
	}
	low()
	add(t, members, "b")
}

func TestALogWithoutRoomTakesNothingAndGoesOn(t *testing.T) {
	m := newMember(t, "m1")
	m.cfg.Timing.SegmentBytes = 1 << 20
	smallDisk(t, m.cfg.Dir, 64<<20)
	m.start()
	add(t, []*member{m}, "before")
	empty := fillDisk(t, m.cfg.Dir, reserveBeside)
	err := addBytes(t, m, "full", 10, testTimeout)
	if controlplane.CodeOf(err) != controlplane.CodeExhausted || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("a write without room: %v", err)
	}
	if err := m.tasks.CaughtUp(testContext(t)); !errors.Is(err, errLogFull) {
		t.Errorf("ready for calls: %v", err)
	}
	empty()
	until(t, "a write after room was made", func() bool { return addBytes(t, m, "after", 10, testTimeout) == nil })
	until(t, "readiness", func() bool { return m.tasks.CaughtUp(testContext(t)) == nil })
	m.close()
	if err := m.tryStart(); err != nil {
		t.Fatal(err)
	}
	whole(t, m, []string{"before", "after"})
}

// TestADatabaseWithoutRoomGoesOn gives the database alone a small disk.
func TestADatabaseWithoutRoomGoesOn(t *testing.T) {
	m := newMember(t, "m1")
	state := filepath.Join(m.cfg.Dir, generationPrefix+"000001")
	m.start()
	add(t, []*member{m}, "first")
	m.close()
	moved := t.TempDir()
	if err := os.CopyFS(moved, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	smallDisk(t, state, 16<<20)
	if err := os.CopyFS(state, os.DirFS(moved)); err != nil {
		t.Fatal(err)
	}
	if err := m.tryStart(); err != nil {
		t.Fatal(err)
	}
	leader(t, []*member{m})
	var acknowledged []string
	write := func(id string) error {
		err := addBytes(t, m, id, 512<<10, 2*time.Second)
		if err == nil {
			acknowledged = append(acknowledged, id)
		}
		return err
	}
	for i := range 6 {
		if err := write(fmt.Sprint("w", i)); err != nil {
			t.Fatal(err)
		}
	}

	// In a checkpoint: the WAL is there, the main file cannot grow.
	empty := fillDisk(t, state, 0)
	if _, err := m.engine.SnapshotNow(testContext(t)); err == nil {
		t.Error("a checkpoint without room")
	}
	whole(t, m, acknowledged)
	empty()
	if _, err := m.engine.SnapshotNow(testContext(t)); err != nil {
		t.Errorf("a checkpoint after room was made: %v", err)
	}
	whole(t, m, acknowledged)

	// In a transaction: the log has the entry, the WAL, once its file is written through
	// again, cannot grow.
	empty = fillDisk(t, state, 0)
	inDoubt, err := "", error(nil)
	for i := 0; err == nil && i < 16; i++ {
		inDoubt = fmt.Sprint("in doubt ", i)
		err = write(inDoubt)
	}
	if controlplane.CodeOf(err) != controlplane.CodeUnknownOutcome {
		t.Errorf("a write without room in the database: %v", err)
	}
	if full := m.engine.Disk().Full; full == nil || !strings.Contains(full.Error(), "no room for log entry") {
		t.Errorf("the member says of its disk: %v", full)
	}
	empty()
	until(t, "the entry in the log", func() bool {
		_, err := m.tasks.GetTask(testContext(t), inDoubt)
		return err == nil
	})
	until(t, "readiness", func() bool { return m.tasks.CaughtUp(testContext(t)) == nil })
	if err := write("after"); err != nil {
		t.Errorf("a write after room was made: %v", err)
	}
	m.close()
	if err := m.tryStart(); err != nil {
		t.Fatal(err)
	}
	whole(t, m, append(acknowledged, inDoubt))
}

// TestALogThatRanOutOfRoomStartsAgain takes away the room for the next file of the
// log behind the back of the member: raft-wal does not go on from that.
func TestALogThatRanOutOfRoomStartsAgain(t *testing.T) {
	m := newMember(t, "m1")
	m.cfg.Timing.SegmentBytes = 1 << 20
	dir := filepath.Join(m.cfg.Dir, "log")
	smallDisk(t, dir, 16<<20)
	leader(t, []*member{m.start()})
	var acknowledged []string
	empty := func() {}
	for i := 0; ; i++ {
		if i == 3 {
			empty = fillDisk(t, dir, 0)
		}
		id := fmt.Sprint("w", i)
		if err := addBytes(t, m, id, 200<<10, testTimeout); err != nil {
			break
		}
		if acknowledged = append(acknowledged, id); i > 100 {
			t.Fatal("the log goes on without room")
		}
	}
	select {
	case <-m.engine.Failed():
	case <-testContext(t).Done():
		t.Fatal("the member goes on with a log that takes nothing")
	}
	if err := m.engine.Err(); err == nil || !strings.Contains(err.Error(), "make room") {
		t.Errorf("it says: %v", err)
	}
	empty()
	m.startOnCopy()
	leader(t, []*member{m})
	if err := addBytes(t, m, "after", 200<<10, testTimeout); err != nil {
		t.Errorf("a write after room was made: %v", err)
	}
	whole(t, m, append(acknowledged, "after"))
}
