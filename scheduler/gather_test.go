package scheduler

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// TestRenewalsShareEntries: renewals wait for each other, and for nothing once something
// else is written.
func TestRenewalsShareEntries(t *testing.T) {
	const nodes = 500 // more than an entry could take if renewals were counted for more than they are
	r := newRig(t)
	r.opts = Options{Gather: time.Hour, Tick: time.Hour}
	r.start()
	for i := range nodes {
		r.register(t, fmt.Sprintf("n%d", i), controlplane.NodeSpec{Slots: 1, Functions: []string{"f"}})
	}
	before := r.engine.AppliedIndex()
	var beats sync.WaitGroup
	for i := range nodes {
		beats.Go(func() {
			id := fmt.Sprintf("n%d", i)
			if _, err := r.s.Heartbeat(r.ctx, controlplane.Heartbeat{NodeID: id, SessionID: id + ".1"}); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { beats.Wait(); close(done) }()
	for writes := 1; ; writes++ { // each lets those go that wait by then
		if _, err := r.tasks.AddTask(r.ctx, &controlplane.Task{Function: &controlplane.Function{Name: "g"}}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			if entries := r.engine.AppliedIndex() - before; entries > uint64(writes) {
				t.Errorf("%d renewals and %d tasks took %d entries", nodes, writes, entries)
			}
			return
		default:
		}
	}
}

// TestARenewalDoesNotWaitForLong is alone.
func TestARenewalDoesNotWaitForLong(t *testing.T) {
	r := newRig(t)
	r.opts = Options{Gather: 10 * time.Millisecond, Tick: time.Hour}
	r.start()
	r.register(t, "n1", controlplane.NodeSpec{Slots: 1, Functions: []string{"f"}})
	if _, err := r.s.Heartbeat(r.ctx, controlplane.Heartbeat{NodeID: "n1", SessionID: "n1.1"}); err != nil {
		t.Error(err)
	}
}
