//go:build !linux

package bench

import (
	"context"
	"time"
)

// alarm wakes a generator of load when a call is due. The timers of Go are precise here.
type alarm struct{}

func newAlarm() (*alarm, error) { return &alarm{}, nil }

func (*alarm) sleepUntil(ctx context.Context, at time.Time) error { return sleepUntil(ctx, at) }

func (*alarm) close() error { return nil }
