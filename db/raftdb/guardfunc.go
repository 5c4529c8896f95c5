package raftdb

import (
	"errors"
	"reflect"
	"strings"
	"unicode/utf8"

	"zombiezen.com/go/sqlite"
)

// SQLite looks for an interrupt between the steps of a program, not within a
// function. Some functions take time that grows with the product of what they are
// given: with values of megabytes, hours. Those that people need are replaced here by
// ones that take linear time, and those that nobody needs are refused.

// refusedFunctions are refused by name. Those of JSON also build values of gigabytes
// before they look at the limit.
var refusedFunctions = []string{
	"json_group_array", "json_group_object", "jsonb_group_array", "jsonb_group_object", "json_pretty", "json_patch", "jsonb_patch",
	"load_extension", "geopoly_contains_point", "geopoly_group_bbox", "geopoly_overlap", "geopoly_within", "geopoly_regular",
}

// functionName returns the name in an action of type OpFunction, which the driver
// keeps to itself: "" if it cannot be found.
func functionName(a sqlite.Action) string {
	if f := reflect.ValueOf(a).FieldByName("arg2"); f.IsValid() && f.Kind() == reflect.String {
		return strings.ToLower(f.String())
	}
	return ""
}

// replaceFunctions puts the linear ones in place of SQLite's.
func replaceFunctions(conn *sqlite.Conn) error {
	var errs []error
	for name, f := range map[string]struct {
		args int
		call func(args []sqlite.Value) (sqlite.Value, error)
	}{
		"instr":   {2, instr},
		"replace": {3, replace},
		"unhex":   {2, unhex},
		"trim":    {2, func(a []sqlite.Value) (sqlite.Value, error) { return trim(a, true, true) }},
		"ltrim":   {2, func(a []sqlite.Value) (sqlite.Value, error) { return trim(a, true, false) }},
		"rtrim":   {2, func(a []sqlite.Value) (sqlite.Value, error) { return trim(a, false, true) }},
	} {
		errs = append(errs, conn.CreateFunction(name, &sqlite.FunctionImpl{NArgs: f.args, Deterministic: true, AllowIndirect: true,
			Scalar: func(_ sqlite.Context, args []sqlite.Value) (sqlite.Value, error) {
				for _, a := range args[:2] {
					if a.Type() == sqlite.TypeNull {
						return sqlite.Value{}, nil
					}
				}
				return f.call(args)
			}}))
	}
	return errors.Join(errs...)
}

func instr(args []sqlite.Value) (sqlite.Value, error) {
	blobs := args[0].Type() == sqlite.TypeBlob && args[1].Type() == sqlite.TypeBlob
	in := args[0].Text()
	at := strings.Index(in, args[1].Text())
	if at > 0 && !blobs {
		at = chars(in[:at])
	}
	return sqlite.IntegerValue(int64(at) + 1), nil
}

// chars counts as SQLite does: bytes that continue no character.
func chars(s string) (n int) {
	for i := range len(s) {
		if utf8.RuneStart(s[i]) {
			n++
		}
	}
	return n
}

// tooBig makes SQLite say that a value is too big: the driver loses the errors of
// functions.
func tooBig() (sqlite.Value, error) {
	return sqlite.TextValue(strings.Repeat(" ", guardValueBytes+1)), nil
}

func replace(args []sqlite.Value) (sqlite.Value, error) {
	in, from, to := args[0].Text(), args[1].Text(), args[2].Text()
	if from == "" || from[0] == 0 {
		return sqlite.TextValue(in), nil
	}
	if args[2].Type() == sqlite.TypeNull {
		return sqlite.Value{}, nil
	}
	if len(in)+strings.Count(in, from)*(len(to)-len(from)) > guardValueBytes {
		return tooBig()
	}
	return sqlite.TextValue(strings.ReplaceAll(in, from, to)), nil
}

func trim(args []sqlite.Value, left, right bool) (sqlite.Value, error) {
	set := map[rune]bool{}
	for _, r := range args[1].Text() {
		set[r] = r != 0
	}
	text, in := args[0].Text(), func(r rune) bool { return set[r] }
	if left {
		text = strings.TrimLeftFunc(text, in)
	}
	if right {
		text = strings.TrimRightFunc(text, in)
	}
	return sqlite.TextValue(text), nil
}

// unhex skips the characters of its second argument between pairs of digits.
func unhex(args []sqlite.Value) (sqlite.Value, error) {
	skip := map[rune]bool{}
	for _, r := range args[1].Text() {
		skip[r] = true
	}
	out, high := []byte{}, -1
	text, _, _ := strings.Cut(args[0].Text(), "\x00")
	for _, r := range text {
		d := hexDigit(r)
		switch {
		case d >= 0 && high < 0:
			high = d
		case d >= 0:
			out, high = append(out, byte(high<<4|d)), -1
		case high >= 0 || !skip[r]:
			return sqlite.Value{}, nil
		}
	}
	if high >= 0 {
		return sqlite.Value{}, nil
	}
	return sqlite.BlobValue(out), nil
}

func hexDigit(r rune) int { return strings.IndexRune("0123456789abcdef", r|0x20) }
