package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/raft-control-plane/control-plane"
)

// explainJSON says which field of a request in JSON cannot be read, what it takes and
// what was given. The decoder's own words name a place by line and column, and types
// by their names in Protobuf.
func explainJSON(md protoreflect.MessageDescriptor, data []byte, err error) error {
	text := plainSpaces(err)
	place := findPlace(md, data, positionOf(data, text))
	switch {
	case strings.Contains(text, "unexpected EOF"):
		return controlplane.Errorf(controlplane.CodeInvalid, "the JSON ends too early: check that every quote and bracket is closed")
	case place.path == "" && strings.Contains(text, "unexpected token"):
		return controlplane.Errorf(controlplane.CodeInvalid, "the body must be one JSON object, such as {}: it has the fields of %s", md.Name())
	case strings.Contains(text, "unknown field"):
		return controlplane.FieldErrorf(place.path, "is no field of %s: %s", place.parent.Name(), suggest(place.parent, place.name, anyField))
	case strings.Contains(text, "duplicate"):
		return controlplane.FieldErrorf(place.path, "is given twice: give it once")
	case strings.Contains(text, "is already set") && place.field != nil && place.field.ContainingOneof() != nil:
		return controlplane.FieldErrorf(place.path, "is given beside another one of %s: give one of them", anyOf(fieldNames(place.field.ContainingOneof().Fields())))
	case strings.Contains(text, "invalid UTF-8"):
		return controlplane.FieldErrorf(place.path, "is no valid UTF-8: send text as UTF-8, and other bytes as base64 in a field that takes bytes")
	case strings.Contains(text, "recursion depth"):
		return controlplane.Errorf(controlplane.CodeInvalid, "the JSON is nested too deep: no field takes that many levels")
	case place.field != nil && !strings.Contains(text, "escape code"):
		return controlplane.FieldErrorf(place.path, "must be %s, not %s", place.takes(), place.given())
	}
	return controlplane.Errorf(controlplane.CodeInvalid, "the JSON cannot be read: %s", cut(text, 120))
}

// positionOf is the byte at which the decoder stopped, from the line and column
// in its message; the end if there is none.
func positionOf(data []byte, text string) int {
	i := strings.Index(text, "(line ")
	var line, column int
	if i < 0 {
		return len(data)
	}
	if _, err := fmt.Sscanf(text[i:], "(line %d:%d)", &line, &column); err != nil {
		return len(data)
	}
	at := 0
	for ; line > 1; line-- {
		at += bytes.IndexByte(data[at:], '\n') + 1
	}
	for ; column > 1 && at < len(data); column-- { // it counts characters
		_, size := utf8.DecodeRune(data[at:])
		at += size
	}
	return at
}

// place is where in a request the decoder stopped.
type place struct {
	path   string                         // as the contract names the fields
	name   string                         // of the last field, as it was given
	parent protoreflect.MessageDescriptor // message that the last field is in
	field  protoreflect.FieldDescriptor   // nil if parent has no such field
	item   bool                           // it is an item, or a map's value, of that field
	raw    string                         // what stands there
}

// level is an object or a list that is open while the JSON is read.
type level struct {
	md     protoreflect.MessageDescriptor // of an object that is a message
	field  protoreflect.FieldDescriptor   // that holds the list or map
	path   string
	list   bool
	index  int
	wantsK bool // a key comes next
}

// findPlace reads the JSON up to a byte.
func findPlace(md protoreflect.MessageDescriptor, data []byte, at int) place {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	p := place{parent: md, raw: rawAt(data, at)}
	var open []*level
	for {
		token, err := dec.Token()
		if err != nil {
			return p
		}
		end := int(dec.InputOffset())
		if d, ok := token.(json.Delim); ok && (d == '}' || d == ']') {
			open = open[:max(len(open)-1, 0)]
			closed(open)
			if end > at {
				return p
			}
			continue
		}
		top := topOf(open)
		if top != nil && top.wantsK {
			top.wantsK = false
			p = keyPlace(top, fmt.Sprint(token), p.raw)
			if end > at {
				return p
			}
			continue
		}
		if top != nil && top.list {
			p = itemPlace(top, p.raw)
		}
		if end > at {
			return p
		}
		if d, ok := token.(json.Delim); ok {
			open = append(open, enter(md, top, p, d == '['))
			continue
		}
		closed(open)
	}
}

func topOf(open []*level) *level {
	if len(open) == 0 {
		return nil
	}
	return open[len(open)-1]
}

// closed takes note that a value of the innermost level is complete.
func closed(open []*level) {
	if top := topOf(open); top != nil {
		top.index++
		top.wantsK = !top.list
	}
}

// enter opens the object or list at a place.
func enter(root protoreflect.MessageDescriptor, top *level, p place, list bool) *level {
	l := &level{path: p.path, list: list, wantsK: !list}
	switch {
	case top == nil:
		l.md = root
	case p.field == nil:
	case list || p.field.IsMap() && !p.item:
		l.field = p.field
	default:
		l.md = messageOf(p.field)
	}
	return l
}

// messageOf is the message type of a field or of a map's values, nil if it is none.
func messageOf(f protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if f.IsMap() {
		f = f.MapValue()
	}
	return f.Message()
}

func keyPlace(top *level, key, raw string) place {
	p := place{name: key, parent: top.md, raw: raw}
	switch {
	case top.field != nil: // a map's
		p.path, p.field, p.item = fmt.Sprintf("%s[%q]", top.path, cut(key, 80)), top.field, true
	case top.md != nil:
		if p.field = top.md.Fields().ByJSONName(key); p.field == nil {
			p.field = top.md.Fields().ByTextName(key)
		}
		name := cut(key, 80)
		if p.field != nil {
			name = p.field.TextName()
		}
		p.path = strings.TrimPrefix(top.path+"."+name, ".")
	}
	return p
}

func itemPlace(top *level, raw string) place {
	return place{path: fmt.Sprintf("%s[%d]", top.path, top.index), field: top.field, item: true, raw: raw}
}

// rawAt is what stands at a byte, shortened.
func rawAt(data []byte, at int) string {
	rest := bytes.TrimLeft(data[min(at, len(data)):], " \t\r\n:,")
	end := bytes.IndexAny(rest, ",}]\n")
	if len(rest) > 0 && rest[0] == '"' {
		if i := bytes.IndexByte(rest[1:], '"'); i >= 0 {
			end = i + 2
		}
	}
	if end < 0 {
		end = len(rest)
	}
	return cut(string(rest[:max(end, min(1, len(rest)))]), 40)
}

func (p place) given() string {
	switch {
	case strings.HasPrefix(p.raw, "{"):
		return "an object"
	case strings.HasPrefix(p.raw, "["):
		return "a list"
	}
	return p.raw
}

// takes says in plain words what a field takes.
func (p place) takes() string {
	f := p.field
	switch {
	case f.IsMap() && !p.item:
		return `an object of texts, such as {"key": "value"}`
	case f.IsMap():
		f = f.MapValue()
	case f.IsList() && !p.item:
		return "a list: put it into [ ]"
	}
	switch f.Kind() {
	case protoreflect.Int32Kind, protoreflect.Uint32Kind:
		return "a whole number of at most 32 bits"
	case protoreflect.Int64Kind, protoreflect.Uint64Kind:
		return "a whole number of at most 64 bits"
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.StringKind:
		return "text in quotes"
	case protoreflect.BytesKind:
		return "base64, in quotes"
	case protoreflect.EnumKind:
		return anyOf(enumNames(f.Enum()))
	case protoreflect.MessageKind:
		switch f.Message().FullName() {
		case "google.protobuf.Duration":
			return `seconds with an s, in quotes, such as "90s"`
		case "google.protobuf.Timestamp":
			return `a time, such as "2026-01-31T12:00:00Z"`
		}
		return "an object, in { }"
	}
	return "a " + f.Kind().String()
}

func enumNames(e protoreflect.EnumDescriptor) (names []string) {
	for i := range e.Values().Len() {
		if v := e.Values().Get(i); v.Number() != 0 {
			names = append(names, string(v.Name()))
		}
	}
	return names
}

func fieldNames(fields protoreflect.FieldDescriptors) (names []string) {
	for i := range fields.Len() {
		names = append(names, fields.Get(i).TextName())
	}
	return names
}

func anyField(protoreflect.FieldDescriptor) bool { return true }

// suggest names the field that was probably meant, of those that may be given.
func suggest(md protoreflect.MessageDescriptor, given string, may func(protoreflect.FieldDescriptor) bool) string {
	given = strings.ToLower(cut(given, 80))
	var names []string
	best, distance := "", len(given)/3+1
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		if !may(f) {
			continue
		}
		names = append(names, f.TextName())
		for _, name := range []string{f.TextName(), f.JSONName()} {
			if d := editDistance(given, strings.ToLower(name)); d < distance {
				best, distance = name, d
			}
		}
		if inner := messageOf(f); inner != nil && !f.IsMap() && distance > 0 && inner.Fields().ByTextName(given) != nil {
			best, distance = f.TextName()+"."+given, 1
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "it has " + cut(strings.Join(names, ", "), 300)
}

// editDistance counts the letters to change, add or take away between two words.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// cut shortens what a caller sent for use in a message.
func cut(s string, n int) string {
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
