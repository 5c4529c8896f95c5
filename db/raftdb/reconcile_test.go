package raftdb

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// refuses expects the member not to start, for a reason that contains want.
func refuses(t *testing.T, m *member, want string) {
	t.Helper()
	engine, err := Open(m.cfg)
	if err == nil {
		engine.Close()
		t.Fatalf("it starts; want a refusal with %q", want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Fatalf("refused with %q, want %q in it", err, want)
	}
}

// stopped returns a member of one that was started, given a task and stopped.
func stopped(t *testing.T) *member {
	t.Helper()
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a")
	m.close()
	return m
}

func TestRefusesALogThatLacksWhatWasApplied(t *testing.T) {
	m := stopped(t)
	if err := os.RemoveAll(filepath.Join(m.cfg.Dir, "log")); err != nil {
		t.Fatal(err)
	}
	refuses(t, m, "log was lost here")
}

func TestRefusesADatabaseBehindItsSnapshot(t *testing.T) {
	m := stopped(t)
	gen := generation{filepath.Join(m.cfg.Dir, "state-000001")}
	early, err := os.ReadFile(gen.database())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.tryStart(); err != nil {
		t.Fatal(err)
	}
	add(t, []*member{m}, "b")
	if err := m.engine.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	m.close()
	for _, suffix := range []string{"-wal", "-shm"} {
		_ = os.Remove(gen.database() + suffix)
	}
	if err := os.WriteFile(gen.database(), early, 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, m, "behind its own snapshot")
}

func TestRefusesTheDirectoryOfAnotherMember(t *testing.T) {
	m := stopped(t)
	m.cfg.Name = "m2"
	refuses(t, m, `belongs to member "m1"`)
}

func TestRefusesADirectoryInUse(t *testing.T) {
	m := newMember(t, "m1").start()
	refuses(t, m, "in use by another process")
}

func TestRefusesABadConfigurationWithAllMistakes(t *testing.T) {
	m := newMember(t, "")
	m.cfg.Advertise, m.cfg.BootstrapExpect = "nowhere", 3
	for _, want := range []string{"member name", "advertised address", "needs the addresses of all members"} {
		refuses(t, m, want)
	}
}

func TestThrowsAwayAnInterruptedInstall(t *testing.T) {
	m := stopped(t)
	half := filepath.Join(m.cfg.Dir, "state-000002")
	if err := os.Mkdir(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "state.db"), []byte("half a state"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.tryStart(); err != nil {
		t.Fatal(err)
	}
	add(t, []*member{m}, "b")
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("the half-done install is still there: %v", err)
	}
}

func TestADamagedStateIsNotTakenIntoUse(t *testing.T) {
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a")
	if err := m.engine.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	store := &snapshotStore{e: m.engine}
	list, err := store.List()
	if err != nil || len(list) != 1 {
		t.Fatalf("snapshots: %v, %v", list, err)
	}
	meta, r, err := store.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	var sent bytes.Buffer
	if n, err := sent.ReadFrom(r); err != nil || n != meta.Size {
		t.Fatalf("sent %d bytes of %d, %v", n, meta.Size, err)
	}
	if err := m.engine.raft.Snapshot().Error(); err == nil {
		t.Error("a checkpoint was made while the main file was being sent")
	}
	r.Close()
	receive := func(b []byte) error {
		sink, err := store.Create(1, meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sink.Write(b); err != nil {
			t.Fatal(err)
		}
		return sink.Close()
	}
	damaged := bytes.Clone(sent.Bytes())
	damaged[len(damaged)/2] ^= 1
	if err := receive(damaged); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a damaged state: %v", err)
	}
	if err := receive(sent.Bytes()[:sent.Len()-100]); err == nil {
		t.Error("a cut state was accepted")
	}
	if err := receive(sent.Bytes()); err != nil {
		t.Errorf("the state as sent: %v", err)
	}
	if err := m.engine.fsm.pending.close(); err != nil { // nobody restores it here
		t.Error(err)
	}
}

// TestAFullDatabaseWaitsForRoom limits the database itself, so that the log has room.
func TestAFullDatabaseWaitsForRoom(t *testing.T) {
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a")
	before := m.engine.AppliedIndex()
	d := m.engine.fsm.state
	d.writing.Lock()
	err := script(d.conn, "PRAGMA max_page_count = 1") // no page more than there are
	d.writing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 1<<20)
	added := make(chan error, 1)
	go func() {
		_, err := m.tasks.AddTask(testContext(t), &controlplane.Task{Function: &controlplane.Function{Name: "f", Payload: []byte(big)}})
		added <- err
	}()
	for m.engine.Disk().Full == nil {
		time.Sleep(time.Millisecond)
	}
	if err := m.tasks.CaughtUp(testContext(t)); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("ready for calls: %v", err)
	}
	if after := m.engine.AppliedIndex(); after != before {
		t.Errorf("applied index moved from %d to %d", before, after)
	}
	m.close()                            // it does not wait for room
	if err := m.tryStart(); err != nil { // without the limit
		t.Fatal(err)
	}
	if err := <-added; err == nil {
		t.Error("the write was acknowledged before it was applied")
	}
	if tasks, err := m.tasks.ListTasks(testContext(t), controlplane.TaskFilter{}, 0, 10); err != nil || len(tasks) != 2 {
		t.Errorf("%d tasks, %v: what is in the log is there after a start", len(tasks), err)
	}
}

func TestAnEntryOfAnEarlierTermDoesNothing(t *testing.T) {
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a")
	m.stop()
	m.ran <- <-m.ran // it no longer leads; close looks again
	d := m.engine.fsm.state
	entry := db.Entry{StampMs: 1, Ops: []*db.Op{{Steps: []db.Step{{SQL: "DELETE FROM tasks"}}}}}
	body := entry.Encode(nil)
	apply := func(index, term uint64) outcome {
		t.Helper()
		out := make([]any, 1)
		l := &raft.Log{Index: index, Term: 9, Type: raft.LogCommand, Data: envelope{kind: kindEntry, term: term, body: body}.seal()}
		if err := d.apply([]*raft.Log{l}, out); err != nil {
			t.Fatal(err)
		}
		o, _ := out[0].(outcome)
		return o
	}
	at := d.meta.appliedIndex
	if out := apply(at+1, 8); !errors.Is(out.err, errStaleTerm) {
		t.Errorf("an entry made for term 8 in term 9: %+v", out)
	}
	if out := apply(at+2, 9); out.err != nil || len(out.results) != 1 || out.results[0].Changed != 1 {
		t.Errorf("an entry of the term: %+v", out)
	}
	if out := apply(at+2, 9); out.results != nil {
		t.Errorf("an entry that was applied before: %+v", out)
	}
}

// An entry that fails half-way leaves those that are applied in the same transaction alone.
func TestAnEntryThatFailsHalfWayIsUndoneAlone(t *testing.T) {
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a") // nothing else is applied after it
	m.stop()
	m.ran <- <-m.ran
	d := m.engine.fsm.state
	if err := script(d.conn, "CREATE TABLE pairs (k INTEGER PRIMARY KEY, v INTEGER NOT NULL) STRICT"); err != nil {
		t.Fatal(err)
	}
	put := func(k int64, v db.Value) db.Step {
		return db.Step{SQL: "INSERT INTO pairs VALUES (?1, ?2)", Args: []db.Value{db.Int(k), v}}
	}
	at := d.meta.appliedIndex
	var logs []*raft.Log
	for i, steps := range [][]db.Step{{put(1, db.Int(1))}, {put(2, db.Int(2)), put(3, db.Value{})}, {put(4, db.Int(4))}} {
		entry := db.Entry{StampMs: 1, Ops: []*db.Op{{Steps: steps}}}
		logs = append(logs, &raft.Log{Index: at + 1 + uint64(i), Term: 9, Type: raft.LogCommand,
			Data: envelope{kind: kindEntry, term: 9, body: entry.Encode(nil)}.seal()})
	}
	out := make([]any, len(logs))
	if err := d.apply(logs, out); err != nil {
		t.Fatal(err)
	}
	for i, fails := range []bool{false, true, false} {
		if o, _ := out[i].(outcome); errors.Is(o.err, errNotAtomic) != fails || !fails && len(o.results) != 1 {
			t.Errorf("entry %d: %+v", i, o)
		}
	}
	if keys, err := texts(d.conn, "SELECT group_concat(k, ' ' ORDER BY k) FROM pairs"); err != nil || len(keys) != 1 || keys[0] != "1 4" {
		t.Errorf("rows %q, %v", keys, err)
	}
	if d.meta.appliedIndex != at+3 {
		t.Errorf("applied index %d, want %d", d.meta.appliedIndex, at+3)
	}
}

func TestADamagedEntryStopsTheMember(t *testing.T) {
	sealed := envelope{kind: kindEntry, term: 3, body: []byte("body")}.seal()
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x10
		if _, err := openEnvelope(bad); err == nil {
			t.Errorf("byte %d changed and nobody noticed", i)
		}
	}
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a")
	sealed[len(sealed)-1]++
	m.engine.fsm.ApplyBatch([]*raft.Log{{Index: m.engine.AppliedIndex() + 1, Term: 3, Type: raft.LogCommand, Data: sealed}})
	if m.engine.Err() == nil {
		t.Error("the member goes on")
	}
}
