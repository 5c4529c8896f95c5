package raftdb

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
)

// logStore is the Raft log with three things that raft-wal lacks: entries are checked
// when they are read back from disk, a write that hangs or fails ends the member, and
// what goes beyond a received state is kept.
// Raft's heartbeats go on in another goroutine, so a leader with a stuck disk would
// otherwise lead for ever and commit nothing; after a failed write raft-wal no longer
// knows what its files hold, which a start finds out.
type logStore struct {
	*raftwal.WAL // IsMonotonic among others
	timeout      time.Duration
	fail         func(error)
	received     received
}

// GetLog implements raft.LogStore.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	// raft-wal still finds entries that were cut off but share a file with others.
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	if index < first {
		if entry, ok := s.received.entry(index); ok {
			*l = entry
			return nil
		}
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
		s.fail(fmt.Errorf("a write to the Raft log has not ended for %s: the disk is stuck", s.timeout))
	})
	defer watchdog.Stop()
	err := s.WAL.StoreLogs(logs)
	if err != nil {
		s.fail(fmt.Errorf("a write to the Raft log failed, so what it holds is to be read anew: make room if the disk is full, then start again: %w", err))
	}
	return err
}

// roomyLog takes entries only if there is room for them and for the file that may have
// to follow.
type roomyLog struct {
	*logCache // IsMonotonic among others
	disk      *diskWatch
	storing   func([]*raft.Log) // is told of what has room, before it is written
}

// StoreLog implements raft.LogStore.
func (s *roomyLog) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *roomyLog) StoreLogs(logs []*raft.Log) error {
	var bytes int64
	for _, l := range logs {
		bytes += int64(len(l.Data))
	}
	if err := s.disk.admit(bytes); err != nil {
		return err
	}
	s.storing(logs)
	return s.logCache.StoreLogs(logs)
}
