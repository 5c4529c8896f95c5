package service

import (
	"net/http"
	"sync/atomic"
)

const (
	// laneCalls is how many calls share a connection. The server's end of it goes round all
	// of them for each frame that it writes: with thousands of polls that wait each answer
	// costs more than what is in it.
	laneCalls = 256
	maxLanes  = 64
)

// lanes is a transport that makes calls over one connection, and over further ones while many
// calls are under way.
type lanes struct{ all []*lane }

type lane struct {
	next http.RoundTripper
	busy atomic.Int64
}

// newLanes returns lanes whose transports, each for a connection to each server, are made by a
// function.
func newLanes(transport func() http.RoundTripper) *lanes {
	l := &lanes{}
	for range maxLanes {
		l.all = append(l.all, &lane{next: transport()})
	}
	return l
}

// RoundTrip implements http.RoundTripper. A unary call is under way until it returns.
func (l *lanes) RoundTrip(req *http.Request) (*http.Response, error) {
	lane := l.enter()
	defer lane.busy.Add(-1)
	return lane.next.RoundTrip(req)
}

// enter returns the first lane with room, so that the others are closed when they are needed
// no longer; the last one if there is none.
func (l *lanes) enter() *lane {
	last := len(l.all) - 1
	for _, lane := range l.all[:last] {
		if lane.busy.Add(1) <= laneCalls {
			return lane
		}
		lane.busy.Add(-1)
	}
	l.all[last].busy.Add(1)
	return l.all[last]
}
