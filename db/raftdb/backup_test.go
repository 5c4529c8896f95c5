package raftdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

func register(t *testing.T, m *member, node string) {
	t.Helper()
	spec := controlplane.NodeSpec{Slots: 4, Exec: true, Capacity: controlplane.Resources{CPUMillis: 4000, MemoryBytes: 1 << 30}}
	if err := m.tasks.RegisterNode(testContext(t), node, "session", spec); err != nil {
		t.Fatal(err)
	}
}

// backup takes a backup into a file.
func backup(t *testing.T, m *member) (path string, index uint64) {
	t.Helper()
	state, file, err := m.engine.Backup(testContext(t), db.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.engine.Backup(testContext(t), db.ReadOptions{}); controlplane.CodeOf(err) != controlplane.CodeExhausted {
		t.Errorf("a second backup meanwhile: %v", err)
	}
	content, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(m.cfg.Dir, backupPrefix+"*")); err != nil || len(left) > 0 {
		t.Errorf("a backup leaves %v, %v", left, err)
	}
	path = filepath.Join(t.TempDir(), "backup.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := CheckBackup(path); err != nil || again != state {
		t.Errorf("the file is %+v, %v; it was announced as %+v", again, err, state)
	}
	return path, state.Index
}

func TestABackupBecomesANewCluster(t *testing.T) {
	members := newCluster(t, 3)
	lead := leader(t, members)
	register(t, lead, "n1")
	add(t, members, "ran")
	if err := lead.tasks.AssignTask(testContext(t), "ran", "n1"); err != nil {
		t.Fatal(err)
	}
	add(t, members, "stopped") // which a node holds, and is asked to stop
	if err := lead.tasks.AssignTask(testContext(t), "stopped", "n1"); err != nil {
		t.Fatal(err)
	}
	stopped, err := lead.tasks.GetTask(testContext(t), "stopped")
	if err != nil {
		t.Fatal(err)
	}
	err = lead.tasks.Do(testContext(t), 0, func(g *db.Group) {
		h := db.Held{Seq: stopped.Seq, TaskID: stopped.ID, NodeID: "n1", Attempt: stopped.Attempt}
		g.Add(db.DeliverOp(h, g.Now), nil)
		g.Add(db.CancelRunningOp(h), nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	add(t, members, "waits")
	path, index := backup(t, follower(t, members))
	add(t, members, "later")

	m := newMember(t, "m1")
	m.cfg.Dir = filepath.Join(m.cfg.Dir, "new")
	if got, err := Restore(m.cfg, path); err != nil || got != index {
		t.Fatalf("restored at %d, %v; the backup is at %d", got, err, index)
	}
	if _, err := Restore(m.cfg, path); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a second restore into the directory: %v", err)
	}
	m.start()
	add(t, []*member{m}, "new")
	if m.engine.fsm.cluster() == lead.engine.fsm.cluster() {
		t.Error("the new cluster has the old one's id")
	}
	if m.engine.AppliedIndex() <= index {
		t.Errorf("the log goes on at %d, the backup is at %d", m.engine.AppliedIndex(), index)
	}
	tasks, err := m.tasks.ListTasks(testContext(t), controlplane.TaskFilter{}, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, task := range tasks {
		got += fmt.Sprintf("%s %s %d; ", task.ID, task.Status, task.Attempt)
	}
	if want := "new PENDING 0; waits PENDING 0; stopped CANCELLED 1; ran PENDING 1; "; got != want {
		t.Errorf("tasks %q, want %q", got, want)
	}
	wantEnds(t, m, "[stopped]")
	node, err := m.tasks.GetNode(testContext(t), "n1")
	if err != nil || node.Status != controlplane.NodeUnknown {
		t.Errorf("node: %+v, %v", node, err)
	}
	if err := m.tasks.UpdateNodeHeartbeat(testContext(t), "n1", 0, 0, 0); err != nil {
		t.Error(err)
	}

	// A second member joins the restored cluster and is sent its state.
	second := newMember(t, "m2")
	second.cfg.Join = []string{m.cfg.Advertise}
	second.start()
	settles(t, second)
	sameContent(t, []*member{m, second})
	m.close()
	if err := m.tryStart(); err != nil {
		t.Fatalf("restart of a restored member: %v", err)
	}
	add(t, []*member{m, second}, "last")
}

func TestABackupThatIsNoneIsRefused(t *testing.T) {
	m := newMember(t, "m1")
	m.cfg.Dir = filepath.Join(m.cfg.Dir, "new")
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(t.TempDir(), "nothing"), t.TempDir()} {
		if _, err := Restore(m.cfg, path); err == nil {
			t.Errorf("%s was restored", path)
		}
	}
	if _, err := os.Stat(m.cfg.Dir); !os.IsNotExist(err) {
		t.Errorf("a refused restore left something: %v", err)
	}
}

func TestNothingIsRecoveredFromNothing(t *testing.T) {
	m := newMember(t, "m1")
	m.cfg.Dir = filepath.Join(m.cfg.Dir, "nothing")
	if _, err := Recover(m.cfg); err == nil {
		t.Error("a member was recovered from nothing")
	}
	if _, err := os.Stat(m.cfg.Dir); !os.IsNotExist(err) {
		t.Errorf("it left something: %v", err)
	}
}

func TestTheLastMemberRecovers(t *testing.T) {
	members := newCluster(t, 3)
	for i := range 20 {
		add(t, members, fmt.Sprintf("t%d", i))
	}
	survivor := follower(t, members)
	index := leader(t, members).engine.AppliedIndex()
	if err := survivor.engine.AwaitApplied(testContext(t), index); err != nil {
		t.Fatal(err)
	}
	old := survivor.engine.fsm.cluster()
	for _, m := range members {
		m.close()
	}
	if got, err := Recover(survivor.cfg); err != nil || got < index {
		t.Fatalf("recovered at %d, %v; acknowledged up to %d", got, err, index)
	}
	if err := survivor.tryStart(); err != nil {
		t.Fatal(err)
	}
	add(t, []*member{survivor}, "after")
	if _, err := survivor.tasks.GetTask(testContext(t), "t19"); err != nil {
		t.Error(err)
	}
	if survivor.engine.fsm.cluster() == old {
		t.Error("the cluster id is the old one: members that come back would be let in")
	}
	// One of the lost comes back after all, and is refused.
	for _, m := range members {
		if m == survivor {
			continue
		}
		if err := m.tryStart(); err != nil {
			t.Fatal(err)
		}
		if _, err := m.engine.peers.info(testContext(t), survivor.cfg.Advertise); err == nil || !strings.Contains(err.Error(), "is of cluster") {
			t.Errorf("a member of the lost cluster: %v", err)
		}
		break
	}
}

func TestVerifyFindsAMemberThatDiffers(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	lead := leader(t, members)
	stop := make(chan struct{})
	wrote := make(chan int)
	go func() { // writes go on meanwhile
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				wrote <- n
				return
			default:
				_, _ = lead.tasks.AddTask(context.Background(), &controlplane.Task{Exec: &controlplane.Exec{Command: []string{"true"}}})
			}
		}
	}()
	for range 5 {
		v, err := lead.engine.Verify(testContext(t))
		if err != nil || !v.Equal() || len(v.Members) != 3 {
			t.Fatalf("%+v, %v", v, err)
		}
		for _, m := range v.Members {
			if m.Err != nil || m.Tables["tasks"] == "" {
				t.Errorf("%s: %v", m.Name, m.Err)
			}
		}
	}
	close(stop)
	if n := <-wrote; n == 0 {
		t.Error("nothing was written meanwhile")
	}
	bad := follower(t, members)
	if err := bad.engine.AwaitApplied(testContext(t), lead.engine.AppliedIndex()); err != nil {
		t.Fatal(err)
	}
	d := bad.engine.fsm.state
	d.writing.Lock() // between two entries
	err := script(d.conn, "UPDATE tasks SET priority = 7 WHERE id = 'a'")
	d.writing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	v, err := lead.engine.Verify(testContext(t))
	if want := "[{tasks [" + bad.cfg.Name + "]}]"; err != nil || v.Equal() || fmt.Sprint(v.Differences()) != want {
		t.Errorf("after one member's task was changed: %+v, %v, want %s", v.Differences(), err, want)
	}
	// A member that is away is told from one that differs.
	bad.close()
	ctx, cancel := context.WithTimeout(testContext(t), 5*time.Second)
	defer cancel()
	v, err = lead.engine.Verify(ctx)
	if err != nil || v.Equal() || len(v.Differences()) > 0 {
		t.Errorf("while a member is away: %+v, %v", v, err)
	}
	for _, m := range v.Members {
		if (m.Err != nil) != (m.Name == bad.cfg.Name) {
			t.Errorf("while %s is away, %s: %v", bad.cfg.Name, m.Name, m.Err)
		}
	}
}

func TestMembersAreRemovedPromotedAndLeadInTurn(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	lead, other := leader(t, members), follower(t, members)
	ctx := testContext(t)
	if err := other.engine.RemoveMember(ctx, "m1"); controlplane.CodeOf(err) != controlplane.CodeUnavailable {
		t.Errorf("a removal at a follower: %v", err)
	}
	if err := lead.engine.RemoveMember(ctx, "nobody"); controlplane.CodeOf(err) != controlplane.CodeNotFound {
		t.Errorf("an unknown member: %v", err)
	}
	if name, err := lead.engine.TransferLeadership(ctx, other.cfg.Name); err != nil || name != other.cfg.Name {
		t.Fatalf("%s leads, %v; %s was to", name, err, other.cfg.Name)
	}
	for other.engine.leader.serving() == nil {
		if err := other.tasks.AwaitWritable(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if index, err := other.engine.SnapshotNow(ctx); err != nil || index == 0 {
		t.Errorf("snapshot at %d: %v", index, err)
	}
	if err := other.engine.RemoveMember(ctx, lead.cfg.Name); err != nil {
		t.Fatal(err)
	}
	rest := []*member{}
	for _, m := range members {
		if m != lead {
			rest = append(rest, m)
		}
	}
	add(t, rest, "b")
	if n := len(other.engine.servers()); n != 2 {
		t.Errorf("%d members after a removal", n)
	}
	sameContent(t, rest)
	var _ db.Engine = other.engine
}
