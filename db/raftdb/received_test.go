package raftdb

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
)

// TestTheLogBesideAReceivedState removes the log as Raft does, whole, after states at several
// places in it.
func TestTheLogBesideAReceivedState(t *testing.T) {
	for name, c := range map[string]struct {
		first, last, state uint64
		left               []uint64
	}{
		"the state is beyond the log":          {1, 9, 20, nil},
		"the state is at the end of the log":   {1, 9, 9, nil},
		"the log goes on after the state":      {1, 9, 6, []uint64{7, 8, 9}},
		"the log begins right after the state": {7, 9, 6, []uint64{7, 8, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			wal, err := raftwal.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer wal.Close()
			s := &logCache{maxBytes: 1 << 20, logStore: &logStore{WAL: wal, timeout: time.Minute, fail: func(err error) { t.Error(err) }}}
			for i := c.first; i <= c.last; i++ {
				if err := s.StoreLog(&raft.Log{Index: i, Term: 1, Type: raft.LogNoop}); err != nil {
					t.Fatal(err)
				}
			}
			term := uint64(5)
			if c.state == c.last {
				term = 1 // else the member ends
			}
			if err := s.use(c.state, term); err != nil {
				t.Fatal(err)
			}
			remove := func() {
				t.Helper()
				if err := s.DeleteRange(c.first, c.last); err != nil {
					t.Fatal(err)
				}
			}
			remove()
			for i := uint64(1); i <= c.last; i++ {
				var l raft.Log
				err := s.GetLog(i, &l)
				switch {
				case len(c.left) > 0 && i >= c.left[0]:
					if err != nil || l.Term != 1 {
						t.Errorf("entry %d: %v, %v", i, l, err)
					}
				case len(c.left) > 0 && i == c.state:
					if err != nil || l.Index != i || l.Term != 5 {
						t.Errorf("the entry of the state: %v, %v", l, err)
					}
				case !errors.Is(err, raft.ErrLogNotFound):
					t.Errorf("entry %d: %v, %v", i, l, err)
				}
			}
			if c.left == nil {
				return
			}
			// The next time it is a leader who does not have the entries.
			c.first = c.left[0]
			remove()
			if err := s.GetLog(c.last, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
				t.Errorf("entry %d after it was removed: %v", c.last, err)
			}
		})
	}
}

// TestAStateThatIsReceivedAgain sends a member the state that it has gone on from since, as a
// leader does who did not hear an answer.
func TestAStateThatIsReceivedAgain(t *testing.T) {
	members, late := installed(t)
	add(t, members, "ahead") // of the state
	if err := late.engine.AwaitApplied(testContext(t), leader(t, members).engine.AppliedIndex()); err != nil {
		t.Fatal(err)
	}
	id, address := late.engine.self.serverID(), raft.ServerAddress(late.cfg.Advertise)
	for ctx := testContext(t); ; {
		lead := leader(t, members)
		err := sendState(lead, id, address)
		if err == nil {
			break
		}
		if ctx.Err() != nil || late == lead {
			t.Fatal(err)
		}
	}
	for _, m := range members { // what it had acknowledged is there yet
		add(t, members, "after-"+m.cfg.Name)
	}
	sameContent(t, members)
	// The log of the member begins after the state, which can be compared all the same.
	first, err := late.engine.entries.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	var l raft.Log
	if err := late.engine.entries.GetLog(first-1, &l); err != nil || l.Index != first-1 || l.Term == 0 {
		t.Errorf("the entry of the state: %v, %v", l, err)
	}
	late.close()
	if err := late.tryStart(); err != nil {
		t.Fatal(err)
	}
	add(t, members, "last")
	sameContent(t, members)
}

// sendState sends a member the newest snapshot of the leader.
func sendState(lead *member, id raft.ServerID, address raft.ServerAddress) error {
	store := &snapshotStore{e: lead.engine}
	list, err := store.List()
	if err != nil || len(list) != 1 {
		return errors.Join(err, errors.New("no snapshot"))
	}
	meta, r, err := store.Open(list[0].ID)
	if err != nil {
		return err
	}
	defer r.Close()
	e := lead.engine
	self := e.self.serverID()
	req := &raft.InstallSnapshotRequest{
		RPCHeader:       raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: e.transport.EncodePeer(self, e.transport.LocalAddr())},
		SnapshotVersion: meta.Version, Term: e.raft.CurrentTerm(), LastLogIndex: meta.Index, LastLogTerm: meta.Term,
		Size: meta.Size, Configuration: raft.EncodeConfiguration(meta.Configuration), ConfigurationIndex: meta.ConfigurationIndex,
	}
	var res raft.InstallSnapshotResponse
	if err := e.transport.InstallSnapshot(id, address, req, &res, r); err != nil {
		return err
	}
	if !res.Success {
		return errors.New("the state was not taken")
	}
	return nil
}

// TestALogThatEndsOtherwiseWhereAStateDoes: Raft cannot go on from there while it runs, so the
// member says so and ends, and goes on when it is started again.
func TestALogThatEndsOtherwiseWhereAStateDoes(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "first")
	lead := leader(t, members)
	late := members[slices.IndexFunc(members, func(m *member) bool { return m != lead })]
	late.close()
	for i := range 10 {
		add(t, members, fmt.Sprintf("t%d", i))
	}
	lead = leader(t, members)
	for _, m := range members {
		if m != late {
			compact(t, m, lead.engine.AppliedIndex())
		}
	}
	state := lead.engine.fsm.state.meta
	logUpTo(t, late, state.appliedIndex, state.appliedTerm-1)
	if err := late.tryStart(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-late.engine.Failed():
	case <-testContext(t).Done():
		t.Fatal("it goes on")
	}
	if err := late.engine.Err(); !strings.Contains(err.Error(), "start this member again") {
		t.Error(err)
	}
	if err := late.engine.raft.Shutdown().Error(); err != nil { // it is taking the state into use
		t.Fatal(err)
	}
	late.engine.logFiles.deleting.Wait()
	late.startOnCopy()
	add(t, members, "last")
	sameContent(t, members)
}

// compact has a member take a snapshot of the state at an index, and keep one entry of the log.
func compact(t *testing.T, m *member, index uint64) {
	t.Helper()
	if err := m.engine.AwaitApplied(testContext(t), index); err != nil {
		t.Fatal(err)
	}
	c := m.engine.raft.ReloadableConfig()
	c.TrailingLogs = 1
	if err := m.engine.raft.ReloadConfig(c); err != nil {
		t.Fatal(err)
	}
	if err := m.engine.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
}

// logUpTo appends entries of a term to the log of a member that does not run.
func logUpTo(t *testing.T, m *member, index, term uint64) {
	t.Helper()
	wal, err := raftwal.Open(filepath.Join(m.cfg.Dir, "log"), raftwal.WithMetaStore(new(logMeta)))
	if err != nil {
		t.Fatal(err)
	}
	last, err := wal.LastIndex()
	for last++; err == nil && last <= index; last++ {
		err = wal.StoreLog(&raft.Log{Index: last, Term: term, Type: raft.LogNoop})
	}
	if err := errors.Join(err, wal.Close()); err != nil {
		t.Fatal(err)
	}
}
