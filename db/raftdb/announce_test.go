package raftdb

import (
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/db"
)

// TestFollowersHearOfCommitsAtOnce: without Raft's own messages a follower would never learn
// that the last entry is committed.
func TestFollowersHearOfCommitsAtOnce(t *testing.T) {
	members := newClusterOf(t, 3, func(m *member) { m.cfg.Timing.Commit = time.Hour })
	task := add(t, members, "")
	for _, m := range members {
		found := false
		_, err := m.engine.Read(testContext(t), db.ReadOptions{Level: db.Linearizable}, func(c db.Conn) error {
			rows, err := c.Query("SELECT 1 FROM tasks WHERE id = ?1", db.Str(task.ID))
			if err != nil {
				return err
			}
			found = rows.Next()
			return rows.Close()
		})
		if err != nil || !found {
			t.Errorf("%s: the task was found: %t (%v)", m.cfg.Name, found, err)
		}
	}
}

// TestAnAnnouncementThatDoesNotHoldChangesNothing: one of an entry that a follower does not
// have, and one of an earlier term.
func TestAnAnnouncementThatDoesNotHoldChangesNothing(t *testing.T) {
	members := newClusterOf(t, 3, func(m *member) { m.cfg.Timing.Commit = time.Hour })
	add(t, members, "")
	lead := leader(t, members)
	index, term := lead.engine.AppliedIndex(), lead.engine.raft.CurrentTerm()
	for _, m := range members {
		if err := m.engine.AwaitApplied(testContext(t), index); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range lead.engine.servers() {
		if s.ID == lead.engine.self.serverID() {
			continue
		}
		if lead.engine.announcer.tell(s, announcement{index + 1, term}) {
			t.Errorf("%s took it that an entry is committed which it does not have", s.ID)
		}
		lead.engine.announcer.tell(s, announcement{index, term - 1})
	}
	for _, m := range members {
		if got := m.engine.raft.CommitIndex(); got != index {
			t.Errorf("%s: commit index %d, want %d", m.cfg.Name, got, index)
		}
	}
	add(t, members, "")
	sameContent(t, members)
}
