package session

import (
	"sync"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// Deadlines are when an attempt must end unless its lease is renewed before, on
// BootClock: at Stop it is told to, at Kill it is made to.
type Deadlines struct {
	Stop, Kill time.Duration
}

// lease is until when the node may run its tasks, by its own clock (see
// BootClock). It counts from when the agent SENT the last renewal that was
// acknowledged: the control plane counts from later, so the node stops first.
// At four fifths of the lease what runs is told to stop, at nine tenths it is
// killed; the rest is for that and for clocks that run apart.
//
// What runs holds the deadlines and acts on them; see Deadlines.
type lease struct {
	mu     sync.Mutex
	length time.Duration
	until  Deadlines
}

// renewed takes in a renewal, and reports whether it moves the deadlines: an answer
// to a long poll may be older than a heartbeat's.
func (l *lease) renewed(sent, length time.Duration) (Deadlines, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := Deadlines{Stop: sent + length*4/5, Kill: sent + length*9/10}
	if length <= 0 || d.Stop <= l.until.Stop {
		return l.until, false
	}
	l.length, l.until = length, d
	return d, true
}

func (l *lease) deadlines() Deadlines {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// interval is how often to renew: a third of the lease.
func (l *lease) interval() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.length == 0 {
		return controlplane.HeartbeatInterval
	}
	return l.length / 3
}
