//go:build !linux

package session

import (
	"time"

	"golang.org/x/sys/unix"
)

// BootClock counts leases and time limits. On macOS CLOCK_MONOTONIC goes on while
// the machine sleeps, and is the same for all processes: see clock_linux.go.
func BootClock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("read CLOCK_MONOTONIC: " + err.Error())
	}
	return time.Duration(ts.Nano())
}
