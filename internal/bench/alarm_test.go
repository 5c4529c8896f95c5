package bench

import (
	"context"
	"errors"
	"testing"
	"time"
)

// An alarm is never early, and does not outlast its context.
func TestAlarm(t *testing.T) {
	clock, err := newAlarm()
	if err != nil {
		t.Fatal(err)
	}
	defer clock.close() //nolint:errcheck // nothing was written to it
	for _, wait := range []time.Duration{-time.Second, 0, 1, time.Microsecond, 1500 * time.Microsecond, 3 * time.Millisecond} {
		at := time.Now().Add(wait)
		if err := clock.sleepUntil(t.Context(), at); err != nil {
			t.Errorf("%s: %v", wait, err)
		}
		if early := time.Until(at); early > 0 {
			t.Errorf("%s: %s early", wait, early)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	if err := clock.sleepUntil(ctx, time.Now().Add(time.Hour)); !errors.Is(err, context.Canceled) {
		t.Errorf("its context ends: %v", err)
	}
}
