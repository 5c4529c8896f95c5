package scheduler

import (
	"slices"
	"testing"

	"github.com/raft-control-plane/control-plane"
)

// wanting is a rig with nodes that have the function f.
type wanting struct {
	*rig
	t *testing.T
}

func newWanting(t *testing.T) wanting { return wanting{newRig(t).start(), t} }

func (w wanting) expect(what string, want int) {
	w.t.Helper()
	if got := w.s.Wants(); got != want {
		w.t.Errorf("%s: %d tasks are wanted, not %d", what, got, want)
	}
}

// node registers a node.
func (w wanting) node(id string, slots int32) {
	w.t.Helper()
	w.register(w.t, id, controlplane.NodeSpec{Slots: slots, Functions: []string{"f"}})
}

// asks has a node ask for work for as long as PollGrace, while there is none.
func (w wanting) asks(id string) {
	w.t.Helper()
	work, err := w.s.Poll(w.ctx, controlplane.Poll{NodeID: id, SessionID: id + ".1"})
	if err != nil || len(work.Tasks) > 0 {
		w.t.Fatalf("%d tasks, %v", len(work.Tasks), err)
	}
}

func (w wanting) add(tasks int, task controlplane.Task) {
	w.t.Helper()
	if task.Function == nil {
		task.Function = &controlplane.Function{Name: "f"}
	}
	if _, err := w.tasks.AddTasks(w.ctx, slices.Repeat([]*controlplane.Task{&task}, tasks)); err != nil {
		w.t.Fatal(err)
	}
}

// soon lets the nodes be looked at anew.
func (w wanting) soon() { w.advance(askedEvery) }

func TestTasksThatWaitAreWantedForEachSlot(t *testing.T) {
	w := newWanting(t)
	w.expect("without nodes", 0)
	w.node("n1", 3)
	w.asks("n1")
	w.soon()
	w.expect("while nothing waits", 3*wantedPerSlot)
	w.add(3, controlplane.Task{Queue: "a"})
	w.expect("while nothing waits, and all slots are taken", 3*wantedPerSlot)
	w.add(2, controlplane.Task{Queue: "a"})
	w.add(1, controlplane.Task{Queue: "b"})
	w.expect("while three wait", 3*wantedPerSlot-3)
	w.add(3*wantedPerSlot, controlplane.Task{Queue: "a"})
	w.expect("while enough wait", 0)
}

// TestNodesThatDoNotAskWantNothing has nodes that heartbeat only, that ask no longer, and that
// are drained: tasks that wait for those are stored for later.
func TestNodesThatDoNotAskWantNothing(t *testing.T) {
	w := newWanting(t)
	w.node("beats", 100)
	w.expect("by a node that has not asked", 0)
	w.node("n1", 3)
	w.node("n2", 5)
	w.asks("n1")
	w.asks("n2")
	w.expect("before the nodes are looked at anew", 0)
	w.soon()
	w.expect("by two nodes", 8*wantedPerSlot)
	if err := w.s.Drain(w.ctx, "n2", nil); err != nil {
		t.Fatal(err)
	}
	w.soon()
	w.expect("once one of them is drained", 3*wantedPerSlot)
	w.advance(w.s.opts.PollGrace)
	w.expect("once the other has not asked for long", 0)
	w.asks("n1")
	w.soon()
	w.expect("when it asks again", 3*wantedPerSlot)
}

// TestNoMoreIsWantedThanMemoryHolds has a fleet that could take more.
func TestNoMoreIsWantedThanMemoryHolds(t *testing.T) {
	w := newWanting(t)
	w.node("n1", 10_000)
	w.asks("n1")
	w.soon()
	w.expect("while nothing waits", mostWanted)
	settings := controlplane.DefaultQueueSettings()
	settings.Paused = true
	if _, err := w.tasks.CreateQueue(w.ctx, "paused", settings); err != nil {
		t.Fatal(err)
	}
	w.add(maxHeads+1, controlplane.Task{Queue: "paused"})
	w.expect("while more wait than are in memory", 0)
	w.resign()
	w.lead()
	w.asks("n1")
	w.soon()
	w.expect("when a new leader knows only that some wait", 0)
}

// TestWhatIsNotTakenIsNotWaitedFor has tasks wait that no node can run, and some whose key lets
// one run at a time: others are wanted all the same.
func TestWhatIsNotTakenIsNotWaitedFor(t *testing.T) {
	w := newWanting(t)
	w.node("n1", 50)
	w.asks("n1")
	w.soon()
	w.add(60, controlplane.Task{Function: &controlplane.Function{Name: "of nobody"}})
	w.expect("while they are new", 50*wantedPerSlot-60)
	w.advance(stalledAfter)
	w.expect("when none has been taken for long", 50*wantedPerSlot)
	w.add(60, controlplane.Task{ConcurrencyKey: "one at a time", MaxConcurrency: 1})
	w.expect("while 59 wait for their key", 50*wantedPerSlot-wantedPerSlot)
}

// TestWhatIsTakenIsWaitedFor has a stream that is not new any more.
func TestWhatIsTakenIsWaitedFor(t *testing.T) {
	w := newWanting(t)
	w.node("n1", 1)
	w.asks("n1")
	w.add(3, controlplane.Task{})
	w.advance(stalledAfter)
	w.expect("while nothing moves", wantedPerSlot)
	work, err := w.s.Poll(w.ctx, controlplane.Poll{NodeID: "n1", SessionID: "n1.1"})
	if err != nil || len(work.Tasks) != 1 {
		t.Fatalf("%d tasks, %v", len(work.Tasks), err)
	}
	w.expect("when the node has fetched what it had", wantedPerSlot)
	result := controlplane.Result{TaskID: work.Tasks[0].ID, Attempt: 1, Status: controlplane.TaskCompleted}
	if _, err := w.s.Report(w.ctx, "n1", "n1.1", []controlplane.Result{result}); err != nil {
		t.Fatal(err)
	}
	w.barrier()
	w.expect("when the next one is placed", wantedPerSlot-1)
}
