package dbtest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var retentionTests = map[string]func(*testing.T, *db.TaskManifest){
	"changes are kept as long as is set": testRetention,
}

// testRetention prunes by count and by age, in several steps, and asks with every
// cursor that was ever given.
func testRetention(t *testing.T, m *db.TaskManifest) {
	const tasks = 450 // more than two steps
	for i := range tasks {
		add(t, m, execTask(fmt.Sprintf("r%03d", i)))
	}
	if _, err := m.AddTasks(await(t), []*controlplane.Task{execTask("x"), execTask("y")}); err != nil {
		t.Fatal(err)
	}
	all := follow(t, m, db.EventCursor{}, 100)
	equal(t, "changes", len(all), tasks+2)
	prune := func(keep db.Retention) db.EventCursor {
		t.Helper()
		floor, err := m.PruneEvents(await(t), keep)
		if err != nil {
			t.Fatal(err)
		}
		return floor
	}
	equal(t, "nothing is too old", prune(db.DefaultRetention), db.EventCursor{})
	equal(t, "no bounds", prune(db.Retention{}), db.EventCursor{})

	// The newest 11 entries: the last ten submissions and that of two tasks.
	floor := prune(db.Retention{Entries: 11})
	equal(t, "the floor", floor, cursor(all[tasks-11]))
	kept := all[tasks-10:]
	equal(t, "from the beginning", names(follow(t, m, db.EventCursor{}, 3)), names(kept))
	for i, e := range all {
		events, err := m.Events(await(t), cursor(e), 1000)
		if cursor(e).Before(floor) {
			expired(t, err, floor, cursor(all[len(all)-1]))
			continue
		}
		if err != nil {
			t.Fatalf("after %v, which is kept: %v", cursor(e), err)
		}
		equal(t, fmt.Sprintf("after %v", cursor(e)), names(events), names(all[i+1:]))
	}

	// Those that are older than nothing: all of them.
	future := prune(db.Retention{Age: -time.Hour})
	equal(t, "a negative age is no bound", future, db.EventCursor{})
	last := cursor(all[len(all)-1])
	time.Sleep(2 * time.Millisecond) // so that the last is older than 1 ms
	equal(t, "by age", prune(db.Retention{Age: time.Millisecond}), last)
	equal(t, "after the newest of all", names(follow(t, m, last, 10)), "")
	inside := db.EventCursor{Index: last.Index, Ordinal: last.Ordinal - 1}
	_, err := m.Events(await(t), inside, 10)
	expired(t, err, last, last)
	add(t, m, execTask("next"))
	equal(t, "what comes then", names(follow(t, m, last, 10)), "next:PENDING/0")
}

// expired checks an error about a cursor after which changes were pruned.
func expired(t *testing.T, err error, oldest, newest db.EventCursor) {
	t.Helper()
	var e *controlplane.Error
	if !errors.As(err, &e) || e.Code != controlplane.CodeOutOfRange || e.Field != "cursor" || e.Reason != db.ReasonCursorExpired ||
		e.Metadata[db.MetaOldestCursor] != oldest.String() || e.Metadata[db.MetaNewestCursor] != newest.String() {
		t.Errorf("got %v (%+v), want oldest %v and newest %v", err, e, oldest, newest)
	}
}
