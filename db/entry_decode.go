package db

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorruptEntry, fmt.Sprintf(format, args...))
}

// DecodeEntry reads an entry. Everything it returns shares memory with b.
func DecodeEntry(b []byte) (*Entry, error) { return new(Decoder).Decode(b) }

// Decoder reads entries one after the other into the same memory. A member that applies
// entries would else allocate for each task that is done 2 KB, most of them parameters.
// The zero value is ready. It is not safe for concurrent use.
type Decoder struct {
	entry  Entry
	ops    []Op
	steps  []Step
	values []Value
	// texts are those of statements that were met, which are few, and each of them stands in
	// nearly every entry.
	texts map[string]string
}

const (
	// maxKeptTexts bounds the texts that are kept, maxKeptValues the memory for parameters:
	// 3 MB, what an entry of 1,024 operations needs.
	maxKeptTexts  = 256
	maxKeptValues = 1 << 16
)

// Decode is DecodeEntry. The entry holds until the next call.
func (r *Decoder) Decode(b []byte) (*Entry, error) {
	if len(b) < 5 {
		return nil, corrupt("%d bytes", len(b))
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, corrupt("checksum differs")
	}
	if body[0] != entryVersion && body[0] != entryVersionEnds {
		return nil, fmt.Errorf("log entry of format %d, this release knows up to %d: upgrade this member", body[0], entryVersionEnds)
	}
	r.reset()
	d := decoder{b: body[1:], version: body[0], Decoder: r}
	e := d.entry()
	if d.err == nil && len(d.b) != 0 {
		d.fail("%d bytes left over", len(d.b))
	}
	if d.err != nil {
		return nil, d.err
	}
	return e, nil
}

func (r *Decoder) reset() {
	clear(r.values) // they refer to the entry before
	clear(r.steps)
	if r.texts == nil {
		*r = Decoder{entry: Entry{Ops: []*Op{}}, steps: []Step{}, values: []Value{}}
	}
	if cap(r.values) > maxKeptValues {
		r.values = []Value{}
	}
	if len(r.texts) > maxKeptTexts || r.texts == nil {
		r.texts = map[string]string{}
	}
	r.values, r.steps = r.values[:0], r.steps[:0]
}

// text returns a string that is kept, if it was met before.
func (r *Decoder) text(b []byte) string {
	s, ok := r.texts[string(b)]
	if !ok {
		s = string(b)
		r.texts[s] = s
	}
	return s
}

// decoder is the decoding of one entry.
type decoder struct {
	*Decoder
	b       []byte
	version byte
	err     error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = corrupt(format, args...)
	}
	d.b = nil
}

func (d *decoder) entry() *Entry {
	e := &d.Decoder.entry
	*e = Entry{StampMs: d.varint(), Ops: e.Ops[:0]}
	texts := make([]string, d.count())
	for i := range texts {
		texts[i] = d.text(d.bytes())
	}
	e.JournalSQL = d.text(d.bytes())
	if d.version == entryVersionEnds {
		e.EndsSQL = d.text(d.bytes())
	}
	n := d.count()
	d.ops = slices.Grow(d.ops[:0], n)[:n]
	e.Ops = slices.Grow(e.Ops, n)
	for i := range d.ops {
		e.Ops = append(e.Ops, &d.ops[i])
		d.op(&d.ops[i], i, texts)
	}
	return e
}

// op reads an operation, before which there are some in the entry.
func (d *decoder) op(op *Op, before int, texts []string) {
	flags := d.flags(opSavepoint | opEnds | opNeeds)
	op.Savepoint, op.Ends, op.Needs = flags&opSavepoint != 0, 0, 0
	if flags&opEnds != 0 {
		op.Ends = d.varint()
	}
	if flags&opNeeds != 0 {
		if n := d.uvarint(); n > uint64(before) {
			d.fail("an operation after %d needs number %d", before, n)
		} else {
			op.Needs = int(n)
		}
	}
	op.Journal = d.bytes()
	// What was read before stays where it is when the memory for steps, or below for
	// parameters, has to grow: in what it was before.
	n := d.count()
	d.steps = slices.Grow(d.steps, n)
	first := len(d.steps)
	d.steps = d.steps[:first+n]
	op.Steps = d.steps[first : first+n : first+n]
	for i := range op.Steps {
		d.step(&op.Steps[i], texts)
	}
}

func (d *decoder) step(s *Step, texts []string) {
	flags := d.flags(stepAlways | stepScript)
	s.Always, s.Script = flags&stepAlways != 0, flags&stepScript != 0
	text := d.uvarint()
	if text >= uint64(len(texts)) {
		d.fail("statement %d of %d", text, len(texts))
		return
	}
	s.SQL = texts[text]
	n := d.count()
	d.values = slices.Grow(d.values, n)
	first := len(d.values)
	d.values = d.values[:first+n]
	s.Args = d.values[first : first+n : first+n]
	for i := range s.Args {
		if len(d.b) > 0 && d.b[0] == 0 { // NULL, as more than half of them are
			d.b = d.b[1:]
			continue
		}
		if err := decodeParameter(&s.Args[i], d.bytes()); err != nil {
			d.err, d.b = err, nil
			return
		}
	}
}

// flags reads a byte of flags. One that is not known is refused: to leave out what
// it asks for would make this replica another one.
func (d *decoder) flags(known byte) byte {
	if len(d.b) == 0 {
		d.fail("it ends early")
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	if c&^known != 0 {
		d.fail("flags %#x", c)
	}
	return c
}

func (d *decoder) uvarint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 { // one byte, as nearly all of them are
		v := d.b[0]
		d.b = d.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("bad number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("bad number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a number of things of which each takes at least a byte, so that a
// damaged count cannot ask for more memory than the entry has bytes.
func (d *decoder) count() int {
	v := d.uvarint()
	if v > uint64(len(d.b)) {
		d.fail("count %d beyond its end", v)
		return 0
	}
	return int(v)
}

func (d *decoder) bytes() []byte {
	n := d.count()
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}
