package raftdb

import (
	"fmt"
	"sync"
	"testing"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

func TestClusterOfOneKeepsItsStateOverARestart(t *testing.T) {
	m := newMember(t, "solo").start()
	add(t, []*member{m}, "a")
	id := m.engine.fsm.cluster()
	m.close()
	if err := m.tryStart(); err != nil {
		t.Fatal(err)
	}
	add(t, []*member{m}, "b")
	tasks, err := m.tasks.ListTasks(testContext(t), controlplane.TaskFilter{}, 0, 10)
	if err != nil || len(tasks) != 2 || tasks[0].ID != "b" || tasks[1].ID != "a" {
		t.Fatalf("tasks after a restart: %v, %v", tasks, err)
	}
	if now := m.engine.fsm.cluster(); now != id || id == "" {
		t.Errorf("cluster id %q after a restart, %q before", now, id)
	}
}

func TestThreeMembersFormAndAgree(t *testing.T) {
	members := newCluster(t, 3)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { add(t, members, fmt.Sprintf("t%d", i)) })
	}
	wg.Wait()
	sameContent(t, members)
	for _, m := range members {
		task, err := m.tasks.GetTask(testContext(t), "t7")
		if err != nil || task.Status != controlplane.TaskPending {
			t.Errorf("%s: t7 is %v, %v", m.cfg.Name, task, err)
		}
		c, err := m.engine.Cluster(testContext(t))
		if err != nil || len(c.Members) != 3 || c.Leader == "" || c.ID == "" {
			t.Errorf("%s: cluster %+v, %v", m.cfg.Name, c, err)
		}
	}
}

func TestWritesGoOnWithoutTheLeader(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "before")
	old := leader(t, members)
	old.close()
	add(t, members, "after")
	if err := old.tryStart(); err != nil {
		t.Fatal(err)
	}
	sameContent(t, members)
	for _, id := range []string{"before", "after"} {
		if _, err := old.tasks.GetTask(testContext(t), id); err != nil {
			t.Errorf("%s at the restarted member: %v", id, err)
		}
	}
}

func TestReadsSeeWhatWasAcknowledged(t *testing.T) {
	members := newCluster(t, 3)
	for i := range 30 {
		id := fmt.Sprintf("t%d", i)
		add(t, members, id)
		m := members[i%3]
		if _, err := m.tasks.GetTask(testContext(t), id); err != nil {
			t.Fatalf("%s does not see %s at once: %v", m.cfg.Name, id, err)
		}
	}
}

// installed returns a cluster of three, one of which was sent the state, being far
// behind.
func installed(t *testing.T) (members []*member, late *member) {
	t.Helper()
	members = newCluster(t, 3)
	add(t, members, "first")
	late = members[2]
	if leader(t, members) == late {
		late = members[1]
	}
	late.close()
	for i := range 10 {
		add(t, members, fmt.Sprintf("t%d", i))
	}
	for _, m := range members {
		if m.engine == nil {
			continue
		}
		c := m.engine.raft.ReloadableConfig()
		c.TrailingLogs = 1
		if err := m.engine.raft.ReloadConfig(c); err != nil {
			t.Fatal(err)
		}
		if err := m.engine.AwaitApplied(testContext(t), leader(t, members).engine.AppliedIndex()); err != nil {
			t.Fatal(err)
		}
		if err := m.engine.raft.Snapshot().Error(); err != nil {
			t.Fatalf("snapshot of %s: %v", m.cfg.Name, err)
		}
	}
	if err := late.tryStart(); err != nil {
		t.Fatal(err)
	}
	sameContent(t, members)
	if late.engine.fsm.installedIndex() == 0 {
		t.Error("no state was installed: the log sufficed")
	}
	return members, late
}

func TestSnapshotIsSentToAMemberThatIsFarBehind(t *testing.T) {
	members, late := installed(t)
	late.close()
	if err := late.tryStart(); err != nil {
		t.Fatalf("restart after an install: %v", err)
	}
	add(t, members, "last")
	sameContent(t, members)
}

func TestJoinMakesAVoter(t *testing.T) {
	m1 := newMember(t, "m1").start()
	add(t, []*member{m1}, "a")
	m2 := newMember(t, "m2")
	m2.cfg.Join = []string{m1.cfg.Advertise}
	m2.start()
	for !m2.engine.settled() {
		if _, err := m2.engine.Read(testContext(t), db.ReadOptions{Level: db.Stale}, func(db.Conn) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	members := []*member{m1, m2}
	add(t, members, "b")
	sameContent(t, members)
	if id := m2.engine.fsm.cluster(); id != m1.engine.fsm.cluster() {
		t.Errorf("m2 is of cluster %q", id)
	}
}
