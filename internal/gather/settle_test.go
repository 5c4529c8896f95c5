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
