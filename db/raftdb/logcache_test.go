package raftdb

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
)

// TestLogCache stores entries, cuts the log off at both ends and leaves a gap, and compares
// what is read with what was stored, and what is kept with the bounds.
func TestLogCache(t *testing.T) {
	wal, err := raftwal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer wal.Close()
	const bound = 4000
	c := &logCache{maxBytes: bound, logStore: &logStore{WAL: wal, timeout: time.Minute, fail: func(err error) { t.Error(err) }}}
	store := func(text string, size int, indexes ...uint64) {
		t.Helper()
		logs := make([]*raft.Log, 0, len(indexes))
		for _, i := range indexes {
			logs = append(logs, &raft.Log{Index: i, Term: 1, Data: envelope{kind: kindEntry, body: bytes.Repeat([]byte(text), size)}.seal()})
		}
		if err := c.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(index uint64, text string, kept bool) {
		t.Helper()
		var l raft.Log
		if err := c.GetLog(index, &l); err != nil {
			t.Fatalf("entry %d: %v", index, err)
		}
		if l.Index != index || l.Data[envelopeHeader] != text[0] {
			t.Errorf("entry %d is entry %d with %q, not %q", index, l.Index, l.Data[envelopeHeader], text)
		}
		if got := c.kept(index) != nil; got != kept {
			t.Errorf("entry %d is kept in memory: %t", index, got)
		}
	}
	lacks := func(index uint64) {
		t.Helper()
		if err := c.GetLog(index, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			t.Errorf("entry %d: %v", index, err)
		}
	}
	store("a", bound*2/5, 1, 2, 3)
	holds(1, "a", false) // three are more than the bound
	holds(2, "a", true)
	holds(3, "a", true)
	lacks(4)
	store("b", 2*bound, 4)
	holds(3, "a", false)
	holds(4, "b", true) // the newest, however large
	for i := uint64(5); i < 5+2*logCacheEntries; i++ {
		store("c", 1, i)
	}
	if n := len(c.recent); n > logCacheEntries || c.bytes > bound {
		t.Errorf("%d entries with %d bytes are kept", n, c.bytes)
	}
	last := uint64(4 + 2*logCacheEntries)
	if err := c.DeleteRange(last-1, last); err != nil { // what a new leader does not have
		t.Fatal(err)
	}
	lacks(last)
	store("d", 1, last-1)
	holds(last-1, "d", true)
	holds(last-2, "c", false)
	if err := c.DeleteRange(1, last-1); err != nil { // a state that was received is further
		t.Fatal(err)
	}
	lacks(last - 1)
	store("e", 1, last+100)
	lacks(last + 99)
	holds(last+100, "e", true)
}
