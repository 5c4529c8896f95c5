package client

import (
	"sync/atomic"
	"time"
)

// moment is when something was seen last.
type moment struct{ at atomic.Pointer[time.Time] }

func (m *moment) note() {
	now := time.Now()
	m.at.Store(&now)
}

// within reports whether it was seen so short a time ago.
func (m *moment) within(d time.Duration) bool {
	at := m.at.Load()
	return at != nil && time.Since(*at) < d
}
