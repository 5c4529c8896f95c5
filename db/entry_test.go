package db

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	command "github.com/rqlite/rqlite/v8/command/proto"
	"google.golang.org/protobuf/proto"
)

// sampleEntry has every kind of value and every flag.
func sampleEntry() *Entry {
	return &Entry{
		StampMs:    1_750_000_000_123,
		JournalSQL: "INSERT INTO event_log VALUES (?1, ?2, ?3)",
		EndsSQL:    "INSERT INTO ends VALUES (?1, ?2)",
		Ops: []*Op{
			{
				Savepoint: true,
				Journal:   []byte(`["S",1]`),
				Ends:      1 << 40,
				Steps: []Step{
					{SQL: "UPDATE a SET b = ?1", Args: []Value{Int(-5), Float(2.5), Str("née"), Bytes([]byte{0, 255}), {}}},
					{SQL: "DELETE FROM a", Args: []Value{}, Always: true},
				},
			},
			{
				Journal: []byte{},
				Needs:   1,
				Steps:   []Step{{SQL: "UPDATE a SET b = ?1", Args: []Value{Str("")}}, {SQL: "CREATE TABLE x (y); DROP TABLE x", Args: []Value{}, Script: true}},
			},
		},
	}
}

func TestEntryRoundTrip(t *testing.T) {
	for name, e := range map[string]*Entry{
		"sample":                       sampleEntry(),
		"empty":                        {Ops: []*Op{}},
		"before 1970, without journal": {StampMs: -1, Ops: []*Op{{Journal: []byte{}, Steps: []Step{}}}},
		"extremes": {StampMs: math.MaxInt64, Ops: []*Op{{Journal: []byte{}, Steps: []Step{{SQL: strings.Repeat("x", 300), Args: []Value{
			Int(math.MinInt64), Int(math.MaxInt64), Float(math.Inf(-1)), Float(math.Copysign(0, -1)), Str(strings.Repeat("y", 70_000)), {Kind: Blob, Bytes: []byte{}}}}}}}},
	} {
		got, err := DecodeEntry(e.Encode(nil))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(got, e) {
			t.Errorf("%s: got %+v, want %+v", name, got, e)
		}
	}
}

// One decoder reads entries of any size in any order as a new one does, and allocates
// nothing for those that are like the one before.
func TestDecoderIsUsedAgain(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	var d Decoder
	for i := range 200 {
		e := &Entry{StampMs: int64(i), JournalSQL: "j", Ops: []*Op{}}
		if rng.IntN(2) == 0 {
			e.EndsSQL = "e"
		}
		for range rng.IntN(40) {
			op := &Op{Savepoint: rng.IntN(2) == 0, Journal: []byte{}, Steps: []Step{}}
			if e.EndsSQL != "" {
				op.Ends = rng.Int64N(3)
			}
			op.Needs = rng.IntN(1 + len(e.Ops))
			for range rng.IntN(5) {
				s := Step{SQL: strings.Repeat("x", rng.IntN(20)), Args: []Value{}, Always: rng.IntN(2) == 0}
				for range rng.IntN(1 + i) {
					s.Args = append(s.Args, sampleValues[rng.IntN(len(sampleValues))])
				}
				op.Steps = append(op.Steps, s)
			}
			e.Ops = append(e.Ops, op)
		}
		if got, err := d.Decode(e.Encode(nil)); err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("entry %d: got %+v, %v, want %+v", i, got, err, e)
		}
	}
	b := sampleEntry().Encode(nil)
	if n := testing.AllocsPerRun(100, func() { _, _ = d.Decode(b) }); n > 1 { // the list of its texts
		t.Errorf("it allocates %v times", n)
	}
}

func TestEncodeAppends(t *testing.T) {
	e := sampleEntry()
	if got := e.Encode([]byte("head")); string(got[:4]) != "head" || !bytes.Equal(got[4:], e.Encode(nil)) {
		t.Error("what was in the buffer changed, or the entry did")
	}
}

func TestEntryHoldsEachTextOnce(t *testing.T) {
	text := "UPDATE tasks SET status = 'RUNNING' WHERE seq = ?1"
	e := &Entry{}
	for i := range 100 {
		e.Ops = append(e.Ops, &Op{Steps: []Step{{SQL: text, Args: []Value{Int(int64(i))}}}})
	}
	if n := bytes.Count(e.Encode(nil), []byte(text)); n != 1 {
		t.Errorf("the text stands there %d times", n)
	}
}

var sampleValues = []Value{
	{}, Int(0), Int(1), Int(-1), Int(63), Int(64), Int(math.MaxInt64), Int(math.MinInt64),
	Float(0), Float(1.5), Float(math.MaxFloat64), Float(math.Inf(1)),
	Str(""), Str("x"), Str("Grüße"), Str(strings.Repeat("z", 127)), Str(strings.Repeat("z", 128)), Str(strings.Repeat("z", 20_000)),
	{Kind: Blob, Bytes: []byte{}}, Bytes([]byte{0}), Bytes(bytes.Repeat([]byte{7}, 126)), Bytes(bytes.Repeat([]byte{7}, 16_383)),
}

func TestParametersAreRqlitesOwnMessages(t *testing.T) {
	for _, v := range sampleValues {
		want, err := proto.Marshal(v.Parameter())
		if err != nil {
			t.Fatal(err)
		}
		want = append(binary.AppendUvarint(nil, uint64(len(want))), want...)
		if got := v.appendParameter(nil); !bytes.Equal(got, want) {
			t.Errorf("%v of kind %d: got %x, rqlite writes %x", v, v.Kind, got, want)
		}
	}
}

func TestParametersThatRqliteWritesAreRead(t *testing.T) {
	for _, c := range []struct {
		p    *command.Parameter
		want Value
	}{
		{&command.Parameter{}, Value{}},
		{&command.Parameter{Value: &command.Parameter_I{I: -7}}, Int(-7)},
		{&command.Parameter{Value: &command.Parameter_D{D: 0.25}}, Float(0.25)},
		{&command.Parameter{Value: &command.Parameter_B{B: true}}, Int(1)},
		{&command.Parameter{Value: &command.Parameter_B{B: false}}, Int(0)},
		{&command.Parameter{Value: &command.Parameter_Y{Y: []byte("ab")}}, Bytes([]byte("ab"))},
		{&command.Parameter{Value: &command.Parameter_S{S: "ab"}}, Str("ab")},
	} {
		b, err := proto.Marshal(c.p)
		if err != nil {
			t.Fatal(err)
		}
		var got Value
		if err := decodeParameter(&got, b); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: got %+v, %v", c.p, got, err)
		}
	}
	named, _ := proto.Marshal(&command.Parameter{Value: &command.Parameter_I{I: 1}, Name: "n"})
	if err := decodeParameter(new(Value), named); !errors.Is(err, ErrCorruptEntry) {
		t.Errorf("a named parameter, which the log never holds: %v", err)
	}
}

func TestTruncatedEntriesAreRefused(t *testing.T) {
	whole := sampleEntry().Encode(nil)
	for n := range whole {
		if _, err := DecodeEntry(whole[:n]); !errors.Is(err, ErrCorruptEntry) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(whole), err)
		}
	}
	if _, err := DecodeEntry(append(whole, 0)); !errors.Is(err, ErrCorruptEntry) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestFlippedBitsAreRefused(t *testing.T) {
	whole := sampleEntry().Encode(nil)
	for bit := range len(whole) * 8 {
		whole[bit/8] ^= 1 << (bit % 8)
		if _, err := DecodeEntry(whole); !errors.Is(err, ErrCorruptEntry) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
		whole[bit/8] ^= 1 << (bit % 8)
	}
	if _, err := DecodeEntry(whole); err != nil {
		t.Fatalf("all bits back: %v", err)
	}
}

// sealed gives a body a checksum that is right, so that what is behind it is tested.
func sealed(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
}

// body is an encoded entry without its checksum.
func body(e *Entry) []byte {
	b := e.Encode(nil)
	return b[:len(b)-4]
}

func TestBadEntriesWithARightChecksumAreRefused(t *testing.T) {
	op := func(tail ...byte) []byte { // one text "x", no journal, one operation
		return append([]byte{entryVersion, 0, 1, 1, 'x', 0, 1}, tail...)
	}
	for name, b := range map[string][]byte{
		"nothing after the version":   {entryVersion},
		"endless number":              append([]byte{entryVersion}, bytes.Repeat([]byte{0x80}, 12)...),
		"more texts than bytes":       {entryVersion, 0, 200, 1},
		"statement that is not there": op(0, 0, 1, 0, 1, 0),
		"parameter of no known field": op(0, 0, 1, 0, 0, 1, 2, 9<<3, 0),
		"parameter that ends early":   op(0, 0, 1, 0, 0, 1, 2, parameterString<<3|2, 5),
		"parameter with a tail":       op(0, 0, 1, 0, 0, 1, 3, parameterInt<<3, 2, 0),
		"text with a tail":            op(0, 0, 1, 0, 0, 1, 4, parameterString<<3|2, 1, 'x', 'y'),
		"operation flag not known":    op(0x40, 0, 0),
		"an operation needs itself":   op(opNeeds, 1, 0, 0),
		"step flag not known":         op(0, 0, 1, 0x40, 0, 0),
		"bytes left over":             append(body(sampleEntry()), 0),
	} {
		if e, err := DecodeEntry(sealed(b)); !errors.Is(err, ErrCorruptEntry) || e != nil {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

func TestEntryOfALaterFormatAsksForAnUpgrade(t *testing.T) {
	b := body(sampleEntry())
	b[0]++
	if _, err := DecodeEntry(sealed(b)); err == nil || errors.Is(err, ErrCorruptEntry) || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("got %v", err)
	}
}

// FuzzDecodeEntry reads any body with a right checksum: it must be refused or be
// an entry that encodes and decodes to itself.
func FuzzDecodeEntry(f *testing.F) {
	f.Add(body(sampleEntry()))
	f.Add(body(&Entry{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(sealed(b))
		if err != nil {
			return
		}
		again, err := DecodeEntry(e.Encode(nil))
		if err != nil || !bytes.Equal(again.Encode(nil), e.Encode(nil)) {
			t.Fatalf("%+v became %+v, %v", e, again, err)
		}
	})
}
