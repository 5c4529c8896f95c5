package raftdb

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/raft-control-plane/control-plane/db"
)

// An envelope is the data of a log entry:
//
//	kind (1 byte) | term (8 bytes) | CRC-32C of kind, term and body (4 bytes) | body
//
// The term is that of the leadership for which the entry was made. A member can
// lose leadership and win it again between making an entry and logging it; such an
// entry was decided on a state that has moved since, so every replica skips it.
type envelope struct {
	kind byte
	term uint64
	body []byte
}

const (
	// kindEntry holds a db.Entry.
	kindEntry = 1
	// kindLead is what a new leader commits before it serves; its body is the id for a
	// cluster that has none yet.
	kindLead = 2
	// kindVerify has every member hash its content at this index; it has no body.
	kindVerify = 3
	// kindRemove notes that the server whose id is its body is taken out for good.
	kindRemove = 4
	// kindPacked holds a db.Entry as a block of S2.
	kindPacked = 5

	envelopeHeader = 13
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (e envelope) seal() []byte {
	b := make([]byte, envelopeHeader, envelopeHeader+len(e.body))
	b[0] = e.kind
	binary.LittleEndian.PutUint64(b[1:], e.term)
	b = append(b, e.body...)
	binary.LittleEndian.PutUint32(b[9:], envelopeSum(b))
	return b
}

func envelopeSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:9], castagnoli), castagnoli, b[envelopeHeader:])
}

// openEnvelope checks and reads an envelope; its body shares memory with b.
func openEnvelope(b []byte) (envelope, error) {
	if len(b) < envelopeHeader || binary.LittleEndian.Uint32(b[9:]) != envelopeSum(b) {
		return envelope{}, fmt.Errorf("%w: checksum of the envelope differs", db.ErrCorruptEntry)
	}
	e := envelope{kind: b[0], term: binary.LittleEndian.Uint64(b[1:]), body: b[envelopeHeader:]}
	if e.kind < kindEntry || e.kind > kindPacked {
		return e, fmt.Errorf("log entry of kind %d is unknown to this release: upgrade this member", e.kind)
	}
	return e, nil
}
