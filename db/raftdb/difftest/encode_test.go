package difftest

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	pb "google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane/db"
)

// encode writes an entry as db.Entry.Encode does, but for its parameters, which are
// marshalled by rqlite's own code: booleans among them, which db.Entry never writes.
func encode(t *testing.T, e *db.Entry) []byte {
	t.Helper()
	var texts []string
	for _, op := range e.Ops {
		for _, s := range op.Steps {
			if !slices.Contains(texts, s.SQL) {
				texts = append(texts, s.SQL)
			}
		}
	}
	version := byte(1)
	if e.EndsSQL != "" {
		version = 2
	}
	b := binary.AppendVarint([]byte{version}, e.StampMs)
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, text := range texts {
		b = appendBytes(b, []byte(text))
	}
	b = appendBytes(b, []byte(e.JournalSQL))
	if version == 2 {
		b = appendBytes(b, []byte(e.EndsSQL))
	}
	b = binary.AppendUvarint(b, uint64(len(e.Ops)))
	for _, op := range e.Ops {
		ends := version == 2 && op.Ends != 0
		f := flags(op.Savepoint, ends)
		if op.Needs > 0 {
			f |= 4
		}
		if b = append(b, f); ends {
			b = binary.AppendVarint(b, op.Ends)
		}
		if op.Needs > 0 {
			b = binary.AppendUvarint(b, uint64(op.Needs))
		}
		b = appendBytes(b, op.Journal)
		b = binary.AppendUvarint(b, uint64(len(op.Steps)))
		for _, s := range op.Steps {
			b = append(b, flags(s.Always, s.Script))
			b = binary.AppendUvarint(b, uint64(slices.Index(texts, s.SQL)))
			b = binary.AppendUvarint(b, uint64(len(s.Args)))
			for _, v := range s.Args {
				p, err := pb.Marshal(parameter(v))
				if err != nil {
					t.Fatal(err)
				}
				b = appendBytes(b, p)
			}
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func appendBytes(b, more []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(more))), more...)
}

func flags(first, second bool) (f byte) {
	if first {
		f |= 1
	}
	if second {
		f |= 2
	}
	return f
}
