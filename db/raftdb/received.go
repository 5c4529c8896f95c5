package raftdb

import (
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// received is which state a leader has sent last. By it the log obeys Raft's rules for what is
// left of a log then, where hashicorp/raft v1.8.0 does not (its issue 697):
//
//   - What the log has beyond the state stays. Raft removes all of the log, and all the same
//     tells leaders and candidates of its last entry as if it were there: what was acknowledged
//     would be gone from this member, which would end as soon as it was to apply it.
//   - The entry that the state ends with can be compared, though the log begins after it. A
//     leader who repeats its first message, as the answer was lost, would be refused else, and
//     would send the state again, and again.
//
// Entries beyond the state that the leader does not have are found by their terms, as always.
type received struct {
	mu          sync.Mutex
	index, term uint64
	ahead       bool // the log goes beyond the state, and Raft is about to remove it
}

// use takes note of a state that is in use from now on; last is the end of the log.
func (r *received) use(index, term, last uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index, r.term, r.ahead = index, term, last > index
}

// entry stands for the entry that the state ends with, of which only the term is known.
func (r *received) entry(index uint64) (raft.Log, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return raft.Log{Index: index, Term: r.term, Type: raft.LogNoop}, index == r.index && index > 0
}

// before is up to where a log is to be removed that Raft removes whole.
func (r *received) before(last uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ahead {
		return last
	}
	r.ahead = false
	return r.index
}

// DeleteRange implements raft.LogStore.
func (s *logStore) DeleteRange(first, last uint64) error {
	begin, err := s.FirstIndex()
	if err != nil {
		return err
	}
	end, err := s.LastIndex()
	if err != nil {
		return err
	}
	if first <= begin && last >= end {
		if last = s.received.before(last); last < first {
			return nil
		}
	}
	return s.WAL.DeleteRange(first, last)
}

// use takes note of a state that was received, before Raft removes the log. If that ends where
// the state does, with another entry, Raft would compare that entry with the leader's for as long
// as it runs, and refuse everything: the member ends, and Raft learns at its next start where it
// stands.
func (s *logStore) use(index, term uint64) error {
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	s.received.use(index, term, last)
	if other, err := endsOtherwise(s.WAL, index, term); err != nil || !other {
		return err
	}
	s.fail(fmt.Errorf("the log ended at index %d with another entry than the state that was received, which Raft does not take in while it runs: start this member again", index))
	return nil
}

// endsOtherwise reports whether the last entry of a log is that of an index and has another term.
func endsOtherwise(log raft.LogStore, index, term uint64) (bool, error) {
	last, err := log.LastIndex()
	if err != nil || last == 0 || last != index {
		return false, err
	}
	var l raft.Log
	err = log.GetLog(last, &l)
	return err == nil && l.Term != term, err
}

// recall is use for a member that starts: nothing is removed.
func (s *logStore) recall(g generation) error {
	r, err := readRecord(g)
	if err == nil && r != nil && r.InstalledIndex == r.Index {
		s.received.use(r.Index, r.Term, 0)
	}
	return err
}
