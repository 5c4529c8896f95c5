package scheduler

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		base, longest time.Duration
		failed        int32
		jitter        float64
		want          time.Duration
	}{
		{time.Second, 5 * time.Minute, 0, 0.5, time.Second},
		{time.Second, 5 * time.Minute, 0, 0, 750 * time.Millisecond},
		{time.Second, 5 * time.Minute, 3, 0.5, 8 * time.Second},
		{time.Second, 5 * time.Minute, 8, 0.5, 256 * time.Second},
		{time.Second, 5 * time.Minute, 9, 0.5, 5 * time.Minute},
		{time.Second, 5 * time.Minute, 99, 1, 375 * time.Second},
		{time.Hour, 24 * time.Hour, 40, 0.5, 24 * time.Hour}, // would overflow
		{time.Hour, time.Minute, 0, 0.5, time.Minute},
	} {
		s := &Scheduler{opts: Options{RetryBase: c.base, RetryMax: c.longest}}
		if got := s.policy("").backoff(c.failed, c.jitter); got != c.want {
			t.Errorf("base %s, at most %s, %d failures, jitter %v: %s, want %s", c.base, c.longest, c.failed, c.jitter, got, c.want)
		}
	}
}
