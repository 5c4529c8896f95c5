package raftdb

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// announceAfter is how long nothing must be written before followers are told what is
// committed.
const announceAfter = 2 * time.Millisecond

// announcer tells followers that the last entry is committed. Raft tells them with the next
// entry, or after 50 to 100 ms: until then a read of what was just written, on a follower,
// would wait, and its watchers would too. Under load the next entry follows at once, so
// nothing is announced.
type announcer struct {
	e     *Engine
	timer *time.Timer

	mu    sync.Mutex
	last  announcement
	going map[raft.ServerID]bool // to whom one is on its way
}

// announcement is an entry that is committed, and the term in which it was made.
type announcement struct{ index, term uint64 }

func newAnnouncer(e *Engine) *announcer {
	a := &announcer{e: e, going: map[raft.ServerID]bool{}}
	a.timer = time.AfterFunc(time.Hour, a.announce)
	a.timer.Stop()
	return a
}

// writing is called before an entry is made: it carries what was committed before.
func (a *announcer) writing() { a.timer.Stop() }

// committed is called once an entry of this leadership is.
func (a *announcer) committed(index, term uint64) {
	a.mu.Lock()
	a.last = announcement{index, term}
	a.mu.Unlock()
	a.timer.Reset(announceAfter)
}

// announce sends to each follower what Raft itself would send.
func (a *announcer) announce() {
	servers := a.e.servers()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range servers {
		if s.ID != a.e.self.serverID() && !a.going[s.ID] {
			a.going[s.ID] = true
			go a.send(s)
		}
	}
}

// send tells one follower of the last entry, again if it does not have that yet, until
// Raft's own message is due.
func (a *announcer) send(to raft.Server) {
	for wait := announceAfter; ; wait *= 2 {
		a.mu.Lock()
		last := a.last
		a.mu.Unlock()
		heard := a.tell(to, last)
		a.mu.Lock()
		if heard && a.last == last || wait >= a.e.cfg.Timing.Commit {
			delete(a.going, to.ID)
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
		if heard { // meanwhile there is another
			continue
		}
		select {
		case <-time.After(wait):
		case <-a.e.closed:
			return
		}
	}
}

// tell gives a follower an empty message of the leader's. It is valid by itself, like any
// other: a follower that is in a later term refuses it, and so does one that does not have
// the entry, with this term.
func (a *announcer) tell(to raft.Server, last announcement) bool {
	t := a.e.transport
	self := a.e.self.serverID()
	request := raft.AppendEntriesRequest{
		RPCHeader:    raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: t.EncodePeer(self, t.LocalAddr())},
		Term:         last.term,
		PrevLogEntry: last.index, PrevLogTerm: last.term,
		LeaderCommitIndex: last.index,
	}
	var answer raft.AppendEntriesResponse
	err := t.AppendEntries(to.ID, to.Address, &request, &answer)
	if err != nil {
		a.e.log.Debug("a follower is not told at once what is committed", "follower", to.ID, "error", err)
	}
	return err == nil && (answer.Success || answer.Term > last.term)
}
