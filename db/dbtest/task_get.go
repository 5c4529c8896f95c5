package dbtest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

func readIDs(t *testing.T, m *db.TaskManifest, maxBytes int, opts db.ReadOptions, ids ...string) (got []string) {
	t.Helper()
	tasks, err := m.GetTasks(await(t), ids, maxBytes, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if task == nil {
			got = append(got, "-")
			continue
		}
		got = append(got, task.ID)
	}
	return got
}

func testTasksByIDs(t *testing.T, m *db.TaskManifest) {
	add(t, m, execTask("by-id-a"))
	add(t, m, &controlplane.Task{ID: "by-id-b", Function: &controlplane.Function{Name: "f", Payload: make([]byte, 4000)}})
	const a, b, none = "by-id-a", "by-id-b", "by-id-none"
	for _, level := range []db.Level{db.Linearizable, db.Stale} {
		for _, c := range []struct {
			maxBytes  int
			ids, want []string
		}{
			{1 << 20, []string{b, none, a, b}, []string{b, "-", a, b}},
			{1 << 20, slices.Repeat([]string{a}, 100), slices.Repeat([]string{a}, 100)},
			{1 << 20, []string{none}, []string{"-"}},
			{9000, []string{a, b, none, b, none, b, a}, []string{a, b, "-", b, "-"}},
			{1, []string{none, b, none, a}, []string{"-", b, "-"}},
		} {
			if got := readIDs(t, m, c.maxBytes, db.ReadOptions{Level: level}, c.ids...); !slices.Equal(got, c.want) {
				t.Errorf("level %d, %d bytes of %q: %q, want %q", level, c.maxBytes, c.ids, got, c.want)
			}
		}
	}
	all, err := m.GetTasks(await(t), []string{b}, 1, db.ReadOptions{})
	if one := get(t, m, b); err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], one) {
		t.Errorf("with others it is %+v (%v), by itself %+v", all, err, one)
	}
}

// testTasksOfOneIndex reads pairs that are stored together: both are there, or neither.
func testTasksOfOneIndex(t *testing.T, m *db.TaskManifest) {
	const pairs = 200
	pair := func(i int) (string, string) { return fmt.Sprintf("pair-%d-a", i), fmt.Sprintf("pair-%d-b", i) }
	stored := make(chan error, 1)
	go func() {
		for i := range pairs {
			a, b := pair(i)
			if _, err := m.AddTasks(await(t), []*controlplane.Task{execTask(b), execTask(a)}); err != nil {
				stored <- err
				return
			}
		}
		stored <- nil
	}()
	for i := 0; i < pairs; {
		a, b := pair(i)
		switch got := readIDs(t, m, 1<<20, db.ReadOptions{Level: db.Stale}, a, b); {
		case slices.Equal(got, []string{a, b}):
			i++
		case !slices.Equal(got, []string{"-", "-"}):
			t.Fatalf("half of a pair is there: %q", got)
		}
		select {
		case err := <-stored:
			if stored <- nil; err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
}
