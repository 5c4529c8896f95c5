package raftdb

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// TestEndsOutliveTheirMigration lets tasks end before and after migration 6, from which on
// the ends of an entry share a row: they keep their order, by which they are deleted, and
// tasks that are tried again are taken out of it on both sides.
func TestEndsOutliveTheirMigration(t *testing.T) {
	m := newMember(t, "m1")
	m.cfg.SchemaVersion = 5
	one := []*member{m.start()}
	end(t, one, "deleted")
	prune(t, m, db.TaskRetention{Tasks: 0, Age: time.Nanosecond}, 1)
	end(t, one, "a", "b", "c")
	retry(t, m, "b")
	wantEnds(t, m, "[a c]")
	m.close()

	m.cfg.SchemaVersion = 0
	m.start()
	leader(t, one)
	if v := m.version(); v != now {
		t.Fatalf("at schema version %d", v)
	}
	wantEnds(t, m, "[a c]")
	end(t, one, "d")
	cancel(t, m, "b")
	retry(t, m, "a")
	retry(t, m, "d")
	wantEnds(t, m, "[c b]")
	cancelTogether(t, m, "d", "a")
	wantEnds(t, m, "[c b d a]")
	prune(t, m, db.TaskRetention{Tasks: 3}, 1)
	prune(t, m, db.TaskRetention{Tasks: 1}, 1) // d ended together with a
	wantEnds(t, m, "[d a]")
	retry(t, m, "d")
	wantEnds(t, m, "[a]")
	prune(t, m, db.TaskRetention{Age: time.Nanosecond}, 1)
	wantEnds(t, m, "[]")
	if task, err := m.tasks.GetTask(testContext(t), "d"); err != nil || task.Status != controlplane.TaskPending {
		t.Errorf("d: %+v, %v", task, err)
	}
}

// end adds tasks and cancels them, one after the other.
func end(t *testing.T, members []*member, ids ...string) {
	t.Helper()
	for _, id := range ids {
		add(t, members, id)
		cancel(t, members[0], id)
	}
}

func cancel(t *testing.T, m *member, id string) {
	t.Helper()
	if _, err := m.tasks.CancelTask(testContext(t), id); err != nil {
		t.Fatal(err)
	}
}

// cancelTogether ends waiting tasks in one entry.
func cancelTogether(t *testing.T, m *member, ids ...string) {
	t.Helper()
	var ops []*db.Op
	for _, id := range ids {
		task, err := m.tasks.GetTask(testContext(t), id)
		if err != nil {
			t.Fatal(err)
		}
		ops = append(ops, db.CancelWaitingOp(db.Held{Seq: task.Seq, TaskID: id, Attempt: task.Attempt}, time.Now().UnixMilli()))
	}
	err := m.tasks.Do(testContext(t), 0, func(g *db.Group) {
		for _, op := range ops {
			g.Add(op, nil)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func retry(t *testing.T, m *member, id string) {
	t.Helper()
	if _, err := m.tasks.RetryTask(testContext(t), id); err != nil {
		t.Fatal(err)
	}
}

func prune(t *testing.T, m *member, keep db.TaskRetention, want int64) {
	t.Helper()
	for ended := time.Now().UnixMilli(); time.Now().UnixMilli() == ended; { // what has ended did so before now
		runtime.Gosched()
	}
	if n, err := m.tasks.PruneTasks(testContext(t), keep); err != nil || n != want {
		t.Errorf("%+v deletes %d, %v, want %d", keep, n, err, want)
	}
}

// wantEnds compares the tasks that have ended, in order.
func wantEnds(t *testing.T, m *member, want string) {
	t.Helper()
	got := "["
	_, err := m.engine.Read(context.Background(), db.ReadOptions{Level: db.Stale}, func(c db.Conn) error {
		r, err := c.Query("SELECT t.id FROM task_ends e LEFT JOIN tasks t ON t.seq = e.seq ORDER BY e.number")
		if err != nil {
			return err
		}
		for r.Next() {
			if len(got) > 1 {
				got += " "
			}
			got += r.Text(0)
		}
		return r.Close()
	})
	if got += "]"; err != nil || got != want {
		t.Errorf("ended, in order: %s, %v, want %s", got, err, want)
	}
}
