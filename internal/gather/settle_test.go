package gather

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"
)

type asking struct{ done chan struct{} }

// Callers who ask again as soon as they are answered go together, with who has asked
// meanwhile, and not in two halves by turns.
func TestWhoAsksAgainGoesWithTheRest(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that nobody asks unless let go first
	const callers, rounds = 8, 5
	var sizes []int
	q := &Queue[*asking]{Patience: time.Hour, MaxItems: 100, MaxBytes: 1 << 20, Size: func(*asking) int { return 1 }}
	q.Send = func(batch []*asking) {
		sizes = append(sizes, len(batch)) // one request at a time
		for _, a := range batch {
			close(a.done)
		}
	}
	held := make(chan struct{})
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range rounds {
				a := &asking{done: make(chan struct{})}
				q.Do(context.Background(), a, a.done, func() { <-held })
			}
		})
	}
	for items := 0; items < callers-1; items, _ = q.Waiting() {
		runtime.Gosched()
	}
	close(held)
	all.Wait()
	if len(sizes) < 2 || sizes[0] != callers-1 || sizes[1] != callers {
		t.Errorf("requests of %d callers: %v, want %d and then %d", callers, sizes, callers-1, callers)
	}
}

// Behind a request that takes too long everybody goes alone: who has waited since the request
// before it, which had no room for him, and who comes later.
func TestWhoWaitsBehindARequestThatIsStuckGoesAlone(t *testing.T) {
	alone, held, sent, answer := make(chan string, 3), make(chan struct{}), make(chan struct{}), make(chan struct{})
	q := &Queue[*asking]{Patience: time.Hour, MaxItems: 1, MaxBytes: 1 << 20, Size: func(*asking) int { return 1 }}
	q.Send = func(batch []*asking) {
		close(sent)
		<-answer
		close(batch[0].done)
	}
	var all sync.WaitGroup
	do := func(alone func()) {
		a := &asking{done: make(chan struct{})}
		if !q.Do(context.Background(), a, a.done, alone) {
			t.Error("one was not sent")
		}
	}
	await := func(n int) {
		for items := -1; items != n; items, _ = q.Waiting() {
			runtime.Gosched()
		}
	}
	all.Go(func() { do(func() { <-held }) })
	for underWay := false; !underWay; _, underWay = q.Waiting() {
		runtime.Gosched()
	}
	for i, name := range []string{"is sent", "has waited", "has waited too"} {
		all.Go(func() { do(func() { alone <- name }) })
		await(i + 1)
	}
	close(held)
	<-sent
	q.ring()
	await(2) // it rang too early, and so for nobody
	q.mu.Lock()
	q.Patience = 0
	q.mu.Unlock()
	q.ring()
	one, other := <-alone, <-alone
	if one == other || one == "is sent" || other == "is sent" {
		t.Errorf("%q and %q go alone", one, other)
	}
	do(func() { alone <- "comes later" })
	if who := <-alone; who != "comes later" {
		t.Errorf("%q goes alone", who)
	}
	close(answer)
	all.Wait()
}
