package session

import (
	"time"

	"golang.org/x/sys/unix"
)

// BootClock counts leases and time limits. It is CLOCK_BOOTTIME because that goes
// on while the machine is suspended: CLOCK_MONOTONIC, which Go's own timers use,
// stands still then, and an agent that wakes up an hour later would take its lease
// for live. It is the same for all processes of a machine, so that a deadline can
// be handed to a supervisor as it is, however late the message gets there.
func BootClock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("read CLOCK_BOOTTIME: " + err.Error()) // cannot fail on a kernel that runs Go
	}
	return time.Duration(ts.Nano())
}
