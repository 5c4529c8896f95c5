package collector

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: maxGCPercent, 1 << 20: maxGCPercent, 16 << 20: 300, 32 << 20: 100, 48 << 20: 100, 1 << 30: 100,
	} {
		if got := gcPercent(live); got != want {
			t.Errorf("with %d bytes live: %d, not %d", live, got, want)
		}
	}
}

// TestTheCollectorFollowsTheHeap lets what is live grow and shrink, and looks at what holds
// after collections.
func TestTheCollectorFollowsTheHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(50)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	holds := func() int {
		percent := debug.SetGCPercent(50)
		debug.SetGCPercent(percent)
		return percent
	}
	awaiting := func(what string, is func(int) bool) {
		t.Helper()
		for range 1000 { // what follows a collection is done by a goroutine of its own
			runtime.GC()
			if is(holds()) {
				return
			}
			runtime.Gosched()
		}
		t.Errorf("%s: %d %%", what, holds())
	}
	CollectLess()
	awaiting("little is live", func(p int) bool { return p > defaultGCPercent })
	much := make([]byte, 2*quietHeapBytes)
	awaiting("much is live", func(p int) bool { return p == defaultGCPercent })
	runtime.KeepAlive(much)
	awaiting("little is live again", func(p int) bool { return p > defaultGCPercent })
}

func TestGOGCGoesBeforeOurs(t *testing.T) {
	t.Setenv("GOGC", "77")
	before := debug.SetGCPercent(77)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	CollectLess()
	if percent := debug.SetGCPercent(77); percent != 77 {
		t.Errorf("%d %%", percent)
	}
}
