package raftdb

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"

	"github.com/raft-control-plane/control-plane/db"
)

// Entries that are long are packed as a block of S2: the names of queues, nodes and
// statuses are in them once for each operation, and payloads are often alike. An entry of
// 64 steps becomes a seventh of its size, at 2 GB/s, so that less is written, synced, sent to
// followers and kept in memory. zstd makes half of that of it and takes 20 times as long.

const (
	// packFrom is the size of an entry, in bytes, from which on it is packed: what is shorter
	// fits into a page of the disk as it is.
	packFrom = 4 << 10
	// maxUnpacked bounds what is unpacked: an entry has some 16 MiB at most.
	maxUnpacked = 256 << 20
	// maxKept is the largest memory for packing and unpacking that is kept for the next entry.
	maxKept = 1 << 20
)

// packing is memory to pack entries in.
var packing = sync.Pool{New: func() any { return new([]byte) }}

// pack returns the envelope of an entry, packed if that is worth it. The body is valid until
// release is called.
func pack(term uint64, entry []byte) (env envelope, release func()) {
	plain := envelope{kind: kindEntry, term: term, body: entry}
	if len(entry) < packFrom {
		return plain, func() {}
	}
	memory, _ := packing.Get().(*[]byte)
	*memory = s2.Encode((*memory)[:cap(*memory)], entry)
	release = func() {
		if cap(*memory) <= maxKept {
			packing.Put(memory)
		}
	}
	if len(*memory) > len(entry)-len(entry)/8 { // to unpack it costs each member more than this saves
		return plain, release
	}
	return envelope{kind: kindPacked, term: term, body: *memory}, release
}

// unpack returns the entry of a packed body, in memory that the next call uses again.
func (d *database) unpack(body []byte) ([]byte, error) {
	n, err := s2.DecodedLen(body)
	if err == nil && n > maxUnpacked {
		err = fmt.Errorf("%d bytes", n)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: packed: %w", db.ErrCorruptEntry, err)
	}
	if cap(d.unpacked) > maxKept {
		d.unpacked = nil
	}
	entry, err := s2.Decode(d.unpacked[:cap(d.unpacked)], body)
	if err != nil {
		return nil, errors.Join(db.ErrCorruptEntry, err)
	}
	d.unpacked = entry
	return entry, nil
}
