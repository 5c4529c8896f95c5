package scheduler

import "time"

const (
	// wantedPerSlot is how many tasks should wait for each slot of the nodes that ask for work.
	wantedPerSlot = 4
	// mostWanted is how many should wait at most: more than a stream keeps in memory would be
	// read again when they have their turn, and an entry takes about as many.
	mostWanted = minHeads
	// lookedAt is how many streams are looked at for that, some microseconds: where there are
	// more, enough waits.
	lookedAt = 256
	// stalledAfter is how long nothing may have been taken of a stream until it is not waited
	// for: its tasks fit nowhere, or run for long.
	stalledAfter = time.Second
	// askedEvery is how often all nodes are looked at for whether they ask for work.
	askedEvery = 100 * time.Millisecond
)

// asked is how many slots the nodes had that asked for work at some time.
type asked struct {
	slots int
	at    time.Time
}

// wants is how many more tasks should wait: nodes that ask are then given as many as they
// can take, in few calls, while those who submit are held back (db/pace.go).
func (st *state) wants() int {
	if len(st.streams) > lookedAt {
		return 0
	}
	now := st.now()
	wants := min(st.slotsAsked(now)*wantedPerSlot, mostWanted)
	for _, s := range st.streams {
		if now.Sub(s.moved) < stalledAfter {
			wants -= s.waiting()
		}
	}
	return max(0, wants)
}

// waiting is how many tasks of the stream wait, up to mostWanted, and no more than its key
// lets run soon.
func (s *stream) waiting() int {
	n := len(s.heads)
	if !s.eof { // more than memory holds
		n = mostWanted
	}
	if s.key.Key != "" {
		n = min(n, int(s.key.MaxConcurrency)*wantedPerSlot)
	}
	return n
}

// slotsAsked is how many slots the nodes have that ask for work, as of a moment ago. Others
// may heartbeat for as long as they like.
func (st *state) slotsAsked(now time.Time) int {
	if now.Sub(st.asked.at) >= askedEvery {
		st.asked = asked{at: now}
		for _, n := range st.byNum {
			if st.idleAt(n, now) == "" {
				st.asked.slots += int(n.spec.Slots)
			}
		}
	}
	return st.asked.slots
}
