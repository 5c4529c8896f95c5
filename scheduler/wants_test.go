package scheduler

import (
	"testing"

	"github.com/raft-control-plane/control-plane"
)

func TestTasksThatWaitAreWantedForEachSlot(t *testing.T) {
	r := newRig(t).start()
	expect := func(what string, want int) {
		t.Helper()
		if got := r.s.Wants(); got != want {
			t.Errorf("%s: %d tasks are wanted, not %d", what, got, want)
		}
	}
	add := func(tasks int, queue string) {
		t.Helper()
		for range tasks {
			if _, err := r.tasks.AddTask(r.ctx, &controlplane.Task{Queue: queue, Function: &controlplane.Function{Name: "f"}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	expect("without nodes", 0)
	r.register(t, "n1", controlplane.NodeSpec{Slots: 3, Functions: []string{"f"}}) // it does not ask for work
	expect("while nothing waits", 3*wantedPerSlot)
	add(2, "a")
	add(1, "b")
	expect("while three wait", 3*wantedPerSlot-3)
	add(3*wantedPerSlot, "a")
	expect("while enough wait", 0)
	r.register(t, "n2", controlplane.NodeSpec{Slots: 5, Functions: []string{"f"}})
	expect("once there is another node", 5*wantedPerSlot-3)
}
