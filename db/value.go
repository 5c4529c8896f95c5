package db

import (
	"strconv"
	"unsafe"
)

// Kind is the type of a Value: SQLite's storage classes.
type Kind uint8

// The kinds.
const (
	Null Kind = iota
	Integer
	Real
	Text
	Blob
)

// Value is a parameter of a statement or a column of a row. It is the unboxed
// form of rqlite's Parameter message, in which it travels in the log.
type Value struct {
	Kind  Kind
	Int   int64
	Float float64
	Bytes []byte // of Text and Blob; not to be written to: see Str
}

// Int makes an integer.
func Int(i int64) Value { return Value{Kind: Integer, Int: i} }

// Float makes a real.
func Float(f float64) Value { return Value{Kind: Real, Float: f} }

// Str makes a text. It shares the memory of s: a cycle of a task binds seven texts.
func Str(s string) Value {
	if s == "" {
		return Value{Kind: Text, Bytes: []byte{}}
	}
	return Value{Kind: Text, Bytes: unsafe.Slice(unsafe.StringData(s), len(s))}
}

// Bytes makes a blob; NULL if b is nil.
func Bytes(b []byte) Value {
	if b == nil {
		return Value{}
	}
	return Value{Kind: Blob, Bytes: b}
}

// Bool makes 1 or 0: SQLite has no booleans.
func Bool(b bool) Value {
	if b {
		return Int(1)
	}
	return Int(0)
}

// OptStr makes a text, NULL if s is empty.
func OptStr(s string) Value {
	if s == "" {
		return Value{}
	}
	return Str(s)
}

// OptInt makes an integer, NULL if i is 0.
func OptInt(i int64) Value {
	if i == 0 {
		return Value{}
	}
	return Int(i)
}

// String renders the value for messages and tests.
func (v Value) String() string {
	switch v.Kind {
	case Integer:
		return strconv.FormatInt(v.Int, 10)
	case Real:
		return strconv.FormatFloat(v.Float, 'g', -1, 64)
	case Text, Blob:
		return string(v.Bytes)
	}
	return "NULL"
}
