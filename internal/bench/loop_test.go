package bench

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func newRun() *run {
	return &run{Config: Config{Duration: time.Second, ServerCPU: func() time.Duration { return 0 }}}
}

// TestAPhaseLastsUntilSomethingIsDone is of a machine on which one call takes longer than a phase.
func TestAPhaseLastsUntilSomethingIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res, err := newRun().closed(t.Context(), "slow", 1, 1000, func(context.Context) error {
			time.Sleep(5 * time.Second)
			return nil
		})
		if err != nil || res.Operations != 1000 || res.Seconds != (5*time.Second-warmUp).Seconds() {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

func TestAnErrorEndsAPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("bad")
		_, err := newRun().closed(t.Context(), "slow", 1, 1, func(context.Context) error {
			time.Sleep(5 * time.Second)
			return bad
		})
		if !errors.Is(err, bad) {
			t.Error(err)
		}
	})
}
