package raftdb

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
)

// logStore is the Raft log with two things that raft-wal lacks: entries are
// checked when they are read back from disk, and a write that hangs ends the
// member. Raft's heartbeats go on in another goroutine, so a leader with a stuck
// disk would otherwise lead for ever and commit nothing.
type logStore struct {
	*raftwal.WAL // IsMonotonic among others
	timeout      time.Duration
	stuck        func(error)
}

// GetLog implements raft.LogStore.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	// raft-wal still finds entries that were cut off but share a file with others.
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	if index < first {
		return raft.ErrLogNotFound // raft compares it as it is
	}
	if err := s.WAL.GetLog(index, l); err != nil {
		return err
	}
	if l.Type == raft.LogCommand {
		if _, err := openEnvelope(l.Data); err != nil {
			return fmt.Errorf("log entry %d on disk: %w", index, err)
		}
	}
	return nil
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	watchdog := time.AfterFunc(s.timeout, func() {
		s.stuck(fmt.Errorf("a write to the Raft log has not ended for %s: the disk is stuck", s.timeout))
	})
	defer watchdog.Stop()
	return s.WAL.StoreLogs(logs)
}
