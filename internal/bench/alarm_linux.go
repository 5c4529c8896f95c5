package bench

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm wakes a generator of load when a call is due. The timers of Go sleep for whole
// milliseconds here, those of epoll: at the median they end 0.7 ms late, which an open loop
// would count as the latency of what it measures. The kernel's own are 0.03 ms late.
type alarm struct{ timer *os.File }

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	return &alarm{os.NewFile(uintptr(fd), "timer")}, nil //nolint:gosec // a descriptor
}

// sleepUntil sleeps until a time, or until ctx has ended.
func (a *alarm) sleepUntil(ctx context.Context, at time.Time) error {
	stop := context.AfterFunc(ctx, func() { _ = a.timer.SetReadDeadline(time.Unix(0, 1)) })
	defer stop()
	left := time.Until(at)
	if left <= 0 {
		return ctx.Err()
	}
	once := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
	if err := a.set(&once); err != nil {
		return err
	}
	var expired [8]byte
	_, err := a.timer.Read(expired[:])
	return firstError(ctx.Err(), err)
}

func (a *alarm) set(when *unix.ItimerSpec) error {
	raw, err := a.timer.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(fd uintptr) {
		failure = unix.TimerfdSettime(int(fd), 0, when, nil) //nolint:gosec // a descriptor
	})
	return firstError(err, failure)
}

func (a *alarm) close() error { return a.timer.Close() }
