package session

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func task(id string, attempt int32) *controlplanev1.Task {
	return &controlplanev1.Task{Id: id, Attempt: attempt}
}

func TestSlots(t *testing.T) {
	ctx := context.Background()
	h := newHeld(3, &lease{}, newRelay())
	if n := h.reserve(ctx); n != 3 {
		t.Fatalf("reserved %d of 3 free slots", n)
	}
	fresh := h.add([]*controlplanev1.Task{task("a", 1), task("b", 1)})
	h.release(3)
	if n := h.reserve(ctx); n != 1 {
		t.Fatalf("reserved %d with two of three taken", n)
	}
	got := make(chan int)
	go func() { got <- h.reserve(ctx) }()
	h.remove(fresh[0], true)
	if n := <-got; n != 1 {
		t.Errorf("reserved %d after one was freed", n)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if n := h.reserve(ended); n != 0 {
		t.Errorf("reserved %d of none", n)
	}
}

func TestHeldByAttempt(t *testing.T) {
	h := newHeld(10, &lease{}, newRelay())
	first := h.add([]*controlplanev1.Task{task("a", 2)})[0]
	if again := h.add([]*controlplanev1.Task{task("a", 2), task("a", 1)}); len(again) != 0 {
		t.Errorf("started %v again", again)
	}
	second := h.add([]*controlplanev1.Task{task("a", 3)})[0]
	if !first.IsDropped() || second.older != first {
		t.Error("the older attempt was not stopped first")
	}
	if list := h.list(); len(list) != 1 || list[0].GetAttempt() != 3 {
		t.Errorf("holds %v", list)
	}
	h.remove(first, false) // does not end the holding of the newer one
	if h.get(attemptKey{"a", 3}) != second || h.get(attemptKey{"a", 2}) != nil {
		t.Error("the newer attempt is not held")
	}
}

func TestRecentForgetsTheOldest(t *testing.T) {
	var r recent
	for i := range int32(maxRecent + 1) {
		r.add(attemptKey{"t", i})
	}
	if r.has(attemptKey{"t", 0}) || !r.has(attemptKey{"t", 1}) || !r.has(attemptKey{"t", maxRecent}) || len(r.set) > maxRecent {
		t.Errorf("remembers %d", len(r.set))
	}
}

func TestReportsAreBatchedWithinLimits(t *testing.T) {
	r := newReports()
	for i := range 1500 {
		r.add(nil, &controlplanev1.TaskResult{TaskId: fmt.Sprint(i)})
	}
	first := r.take(maxReportItems)
	if len(first) != maxReportItems {
		t.Fatalf("took %d", len(first))
	}
	r.putBack(first)
	if again := r.take(1); again[0].result.GetTaskId() != "0" {
		t.Errorf("took %v first", again[0].result)
	}
	r = newReports()
	for range 5 {
		r.add(nil, &controlplanev1.TaskResult{Result: make([]byte, 1<<20)})
	}
	size := 0
	for _, rep := range r.take(maxReportItems) {
		size += proto.Size(rep.result)
	}
	if size == 0 || size > maxReportBytes {
		t.Errorf("took %d bytes", size)
	}
	if n := len(r.take(maxReportItems)); n == 0 {
		t.Error("the rest is gone")
	}
}
