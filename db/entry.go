package db

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// An Entry is what one position of the Raft log holds: operations, each a list
// of statements with bound parameters, to be run in order in one transaction on
// every replica.
//
// The bytes are
//
//	version (1 byte) | stamp_ms | texts | journal | [ends] | operations | CRC-32C (4 bytes)
//
// with unsigned varints for counts and lengths. The text of each statement
// stands in the entry once, so that a member runs what the leader logged even if
// its own release has other texts. A parameter is encoded as rqlite's Parameter
// message (command.proto), so that both engines speak one language. The checksum
// is there because raft-wal verifies nothing when it reads an entry back. Entries with
// EndsSQL are of version 2, others of version 1, which older releases read, too.
type Entry struct {
	// StampMs is the leader's clock, Unix milliseconds. Replicas never read a clock.
	StampMs int64
	// JournalSQL, if set, is run last, once, with the parameters (log index,
	// StampMs, journal), where journal is the JSON array of the Journal elements of
	// those operations that took effect. It is left out if there are none.
	JournalSQL string
	// EndsSQL, if set, notes what ended: it is run after the operations, before JournalSQL,
	// with the parameters (how many, tasks), where tasks is a JSON array of the Ends of those
	// operations that took effect, in order, at most EndsAtOnce of them; it is run again for
	// the next. A row for many tasks costs a fraction of one for each.
	EndsSQL string
	Ops     []*Op
}

// Op is one operation: steps that take effect together or not at all.
//
// The first step is the guard: an INSERT, UPDATE or DELETE. If it changes no row,
// the steps after it are skipped and the operation has done nothing.
type Op struct {
	Steps []Step
	// Journal are JSON values to be added to the entry's journal if the guard held,
	// separated by commas.
	Journal []byte
	// Ends is the task, by its seq, that has ended if the guard held; 0 for none. It needs an
	// entry with EndsSQL, and is left out otherwise.
	Ends int64
	// Needs is an operation before this one, by its place in the entry from 1 on; 0 for none.
	// If that has done nothing, this one does nothing either, whatever its guard says, and
	// none of its steps are run. It spares guards that look at the same.
	Needs int
	// Savepoint undoes the steps before when a later step fails on a constraint. An
	// operation of several steps whose later steps can fail must set it.
	Savepoint bool
}

// Step is one statement.
type Step struct {
	SQL  string
	Args []Value
	// Always runs the step even if the guard did not hold.
	Always bool
	// Script runs every statement of SQL, without parameters: for migrations.
	Script bool
}

// Migration returns the version to which the entry migrates the schema; 0 if it does
// not. An operation with a script is a migration, and the first argument of its first
// step is its version: members of releases that do not know it tell it by that.
func (e *Entry) Migration() (version int) {
	for _, op := range e.Ops {
		for i := range op.Steps {
			if first := op.Steps[0]; op.Steps[i].Script && len(first.Args) > 0 {
				version = max(version, int(first.Args[0].Int))
			}
		}
	}
	return version
}

// EndsAtOnce bounds the tasks that EndsSQL is given at once. It is part of the format: all
// replicas cut alike.
const EndsAtOnce = 32

const (
	entryVersion     = 1
	entryVersionEnds = 2

	opSavepoint = 1
	opEnds      = 2
	opNeeds     = 4

	stepAlways = 1
	stepScript = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrCorruptEntry is wrapped by every error of decoding, but for an entry of a
// later format: the bytes are not those that were logged. The member must stop
// and fetch the state anew.
var ErrCorruptEntry = errors.New("log entry is corrupt")

// Encode appends the entry to b.
func (e *Entry) Encode(b []byte) []byte {
	start := len(b)
	texts := e.texts()
	version := byte(entryVersion)
	if e.EndsSQL != "" {
		version = entryVersionEnds
	}
	b = append(b, version)
	b = binary.AppendVarint(b, e.StampMs)
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, t := range texts {
		b = appendText(b, t)
	}
	b = appendText(b, e.JournalSQL)
	if version == entryVersionEnds {
		b = appendText(b, e.EndsSQL)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Ops)))
	for _, op := range e.Ops {
		b = op.encode(b, texts, version)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// Encoded is an entry as it is logged, and what it was made of if that is still there: whoever
// runs it need not read what has just been written. To read is the inverse of to write, which
// tests hold.
type Encoded struct {
	Bytes []byte
	entry *Entry
}

// Encoded appends the entry to b, and keeps it. Neither may be changed while it is used.
func (e *Entry) Encoded(b []byte) Encoded { return Encoded{Bytes: e.Encode(b), entry: e} }

// Entry is what the bytes were made of, nil if they came from elsewhere.
func (e Encoded) Entry() *Entry { return e.entry }

// texts are those of the statements, each once.
func (e *Entry) texts() (texts []string) {
	for _, op := range e.Ops {
		for i := range op.Steps {
			if sql := op.Steps[i].SQL; indexOf(texts, sql) < 0 {
				texts = append(texts, sql)
			}
		}
	}
	return texts
}

// indexOf is where a text stands, -1 if it does not. An entry has some ten, of different lengths
// most of them, and to compare one with itself takes no time, while hashing one would take as
// long as writing down what its statement is given.
func indexOf(texts []string, text string) int { return slices.Index(texts, text) }

func (op *Op) encode(b []byte, texts []string, version byte) []byte {
	flags := byte(0)
	if op.Savepoint {
		flags |= opSavepoint
	}
	if op.Ends != 0 && version == entryVersionEnds {
		flags |= opEnds
	}
	if op.Needs != 0 {
		flags |= opNeeds
	}
	b = append(b, flags)
	if flags&opEnds != 0 {
		b = binary.AppendVarint(b, op.Ends)
	}
	if flags&opNeeds != 0 {
		b = binary.AppendUvarint(b, uint64(op.Needs))
	}
	b = binary.AppendUvarint(b, uint64(len(op.Journal)))
	b = append(b, op.Journal...)
	b = binary.AppendUvarint(b, uint64(len(op.Steps)))
	for i := range op.Steps {
		b = op.Steps[i].encode(b, texts)
	}
	return b
}

func (s *Step) encode(b []byte, texts []string) []byte {
	flags := byte(0)
	if s.Always {
		flags |= stepAlways
	}
	if s.Script {
		flags |= stepScript
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(indexOf(texts, s.SQL)))
	b = binary.AppendUvarint(b, uint64(len(s.Args)))
	for i := range s.Args {
		b = s.Args[i].appendParameter(b)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// Field numbers of rqlite's Parameter message.
const (
	parameterInt    = 1 // sint64 i
	parameterFloat  = 2 // double d
	parameterBool   = 3 // bool b
	parameterBytes  = 4 // bytes y
	parameterString = 5 // string s
)

// appendParameter appends the value as a length-prefixed Parameter message. It
// is written out by hand because a message object for each parameter would cost
// two allocations on the hottest path; a test holds it against rqlite's own.
func (v Value) appendParameter(b []byte) []byte {
	switch v.Kind {
	case Integer:
		z := protowire.EncodeZigZag(v.Int)
		b = append(b, byte(1+protowire.SizeVarint(z)), parameterInt<<3)
		return protowire.AppendVarint(b, z)
	case Real:
		b = append(b, 9, parameterFloat<<3|byte(protowire.Fixed64Type))
		return protowire.AppendFixed64(b, math.Float64bits(v.Float))
	case Text:
		return v.appendBytes(b, parameterString)
	case Blob:
		return v.appendBytes(b, parameterBytes)
	}
	return append(b, 0)
}

func (v Value) appendBytes(b []byte, field byte) []byte {
	n := len(v.Bytes)
	b = protowire.AppendVarint(b, uint64(1+protowire.SizeBytes(n)))
	b = append(b, field<<3|byte(protowire.BytesType))
	return protowire.AppendBytes(b, v.Bytes)
}

// decodeParameter reads what appendParameter wrote into v, which is zero; Text and Blob
// share memory with b. The field and its type are one byte, and v is written in place: of
// decoding an entry, parameters are most.
func decodeParameter(v *Value, b []byte) error {
	if len(b) == 0 {
		return nil // NULL
	}
	field, b := b[0], b[1:]
	switch field {
	case parameterInt<<3 | byte(protowire.VarintType):
		z, n := binary.Uvarint(b)
		v.Kind, v.Int = Integer, protowire.DecodeZigZag(z)
		return consumed(n, b)
	case parameterFloat<<3 | byte(protowire.Fixed64Type):
		f, n := protowire.ConsumeFixed64(b)
		v.Kind, v.Float = Real, math.Float64frombits(f)
		return consumed(n, b)
	case parameterBool<<3 | byte(protowire.VarintType):
		z, n := binary.Uvarint(b)
		v.Kind, v.Int = Integer, int64(z)
		return consumed(n, b)
	case parameterBytes<<3 | byte(protowire.BytesType):
		v.Kind = Blob
		return v.takeBytes(b)
	case parameterString<<3 | byte(protowire.BytesType):
		v.Kind = Text
		return v.takeBytes(b)
	}
	return corrupt("parameter field %d", field>>3)
}

func (v *Value) takeBytes(b []byte) error {
	size, n := binary.Uvarint(b)
	if n <= 0 || size != uint64(len(b)-n) {
		return corrupt("parameter length")
	}
	v.Bytes = b[n:len(b):len(b)]
	return nil
}

func consumed(n int, b []byte) error {
	if n != len(b) {
		return corrupt("parameter length")
	}
	return nil
}
