// Package collector tunes the collection of garbage of programs that allocate much in passing
// and keep little.
package collector

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// quietHeapBytes is how large the heap may grow before garbage is collected. Go would
	// collect once it is twice as large as what is live. Of a member's state little is on the
	// heap and much is allocated in passing, so that was every few milliseconds under load, and
	// an eighth of the CPU.
	quietHeapBytes = 64 << 20
	// defaultGCPercent is Go's own choice, which holds for what is larger.
	defaultGCPercent = 100
	maxGCPercent     = 1000
)

// CollectLess lets the heap grow to quietHeapBytes before it is collected, and leaves a
// larger one to Go's rule. GOGC in the environment goes before it.
func CollectLess() {
	if os.Getenv("GOGC") == "" {
		retune(0)
	}
}

// retune sets when the next collection begins, and is called again after it.
func retune(was int) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := gcPercent(live[0].Value.Uint64())
	if percent != was {
		debug.SetGCPercent(percent)
	}
	runtime.AddCleanup(new([16]byte), retune, percent) // it is garbage at once: the next collection finds it
}

func gcPercent(liveBytes uint64) int {
	percent := quietHeapBytes*100/max(liveBytes, 1) - 100
	if liveBytes >= quietHeapBytes {
		return defaultGCPercent
	}
	return int(min(max(percent, defaultGCPercent), maxGCPercent)) //nolint:gosec // it is small
}
