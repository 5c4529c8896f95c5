package raftdb

import (
	"sync"

	"github.com/hashicorp/raft"
)

const (
	// logCacheBytes bounds what is kept in memory of the newest entries, for followers that
	// are close behind and for this member to apply what it has just stored. Raft's own cache
	// bounds their number alone: 128 entries of 1,000 tasks each are 64 MiB.
	logCacheBytes = 4 << 20
	// logCacheEntries bounds their number.
	logCacheEntries = 128
)

// logCache keeps the newest entries of the log in memory.
type logCache struct {
	*logStore // IsMonotonic among others
	maxBytes  int

	mu sync.RWMutex
	// recent are the newest entries, the oldest first, without a gap, since raft-wal takes
	// none: as many as the bounds allow, and the newest however large it is.
	recent []*raft.Log
	bytes  int
}

// GetLog implements raft.LogStore.
func (c *logCache) GetLog(index uint64, l *raft.Log) error {
	if kept := c.kept(index); kept != nil {
		*l = *kept
		return nil
	}
	return c.logStore.GetLog(index, l)
}

// kept is the entry at an index if it is in memory.
func (c *logCache) kept(index uint64) *raft.Log {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if n := len(c.recent); n > 0 && index >= c.recent[0].Index && index <= c.recent[n-1].Index {
		return c.recent[index-c.recent[0].Index]
	}
	return nil
}

// StoreLog implements raft.LogStore.
func (c *logCache) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (c *logCache) StoreLogs(logs []*raft.Log) error {
	if err := c.logStore.StoreLogs(logs); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range logs {
		c.add(l)
	}
	return nil
}

// add appends an entry and lets go of the oldest ones that are too much then.
func (c *logCache) add(l *raft.Log) {
	c.recent, c.bytes = append(c.recent, l), c.bytes+len(l.Data)
	for len(c.recent) > 1 && (c.bytes > c.maxBytes || len(c.recent) > logCacheEntries) {
		c.bytes -= len(c.recent[0].Data)
		c.recent[0] = nil // the array behind lives on for a while, the entry is not to
		c.recent = c.recent[1:]
	}
}

// DeleteRange implements raft.LogStore.
func (c *logCache) DeleteRange(first, last uint64) error {
	c.mu.Lock()
	c.recent, c.bytes = nil, 0
	c.mu.Unlock()
	return c.logStore.DeleteRange(first, last)
}
