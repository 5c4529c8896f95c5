package session

import (
	"testing"
	"time"
)

func TestLeaseCountsFromSending(t *testing.T) {
	var l lease
	if l.interval() != 5*time.Second {
		t.Errorf("interval %v before the first lease", l.interval())
	}
	d, moved := l.renewed(100*time.Second, 15*time.Second)
	if !moved || d.Stop != 112*time.Second || d.Kill != 113500*time.Millisecond {
		t.Errorf("got %+v, %v", d, moved)
	}
	// The answer to a long poll that was sent before, and an answer without a lease.
	for _, sent := range []time.Duration{90 * time.Second, 100 * time.Second} {
		if _, moved := l.renewed(sent, 15*time.Second); moved {
			t.Errorf("a renewal sent at %v moved the lease", sent)
		}
	}
	if _, moved := l.renewed(200*time.Second, 0); moved || l.deadlines() != d {
		t.Errorf("an answer without a lease moved it: %+v", l.deadlines())
	}
	if l.interval() != 5*time.Second {
		t.Errorf("interval %v", l.interval())
	}
}

func TestBootClockGoesOn(t *testing.T) {
	if first := BootClock(); first <= 0 || BootClock() < first {
		t.Errorf("the clock reads %v", first)
	}
}

func TestBackoffGrowsWithinBounds(t *testing.T) {
	var b backoff
	for i, ms := range []int{100, 200, 400, 800, 1600, 2000, 2000} {
		want := time.Duration(ms) * time.Millisecond
		if got := b.next(); got < want*3/4 || got > want*5/4 {
			t.Errorf("wait %d is %v, want about %v", i, got, want)
		}
	}
}
