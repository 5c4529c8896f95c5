package db

import (
	"slices"
	"testing"

	"github.com/raft-control-plane/control-plane"
)

type forgetter struct {
	Planner
	ids []int64
}

func (f *forgetter) ForgetClass(id int64) { f.ids = append(f.ids, id) }

// TestClassesOfNewSubmissionsStay lets submissions come while the tasks are looked
// through: before their rows are there, and of a class that no older task has.
func TestClassesOfNewSubmissionsStay(t *testing.T) {
	f := &forgetter{}
	m := &TaskManifest{batch: &batcher{planner: f}}
	m.classes = classes{byNeeds: map[classKey]*interned{}, byID: map[int64]*interned{}, next: 1}
	intern := func(cpu, seq int64) *interned {
		needs := Class{Resources: controlplane.Resources{CPUMillis: cpu}}
		return m.classes.intern(needs.key(), needs, seq)
	}
	ids := map[string]int64{}
	for i, name := range []string{"has a task", "has none", "comes back", "had one before"} {
		c := intern(int64(i), int64(i))
		c.stored, ids[name] = true, c.id
	}
	const before = 10
	intern(2, before) // "comes back"
	ids["is new"] = intern(9, before+1).id

	g := &Group{}
	if m.forgetClasses(g, map[int64]bool{ids["has a task"]: true}, before) {
		t.Error("there is more to forget")
	}
	slices.Sort(f.ids)
	if want := []int64{ids["has none"], ids["had one before"]}; !slices.Equal(f.ids, want) || len(g.ops) != len(want) {
		t.Errorf("%v are forgotten in %d operations, want %v of %v", f.ids, len(g.ops), want, ids)
	}
	if again := intern(1, before+2); again.stored || again.id <= ids["is new"] {
		t.Errorf("what was forgotten comes back as %+v: its id may not return, and its row is gone", again)
	}
}
