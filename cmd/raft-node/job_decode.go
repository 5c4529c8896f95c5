package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/raft-control-plane/control-plane/service"
)

// jobValuesMax bounds the values of one task: aliases can make many of few bytes.
const jobValuesMax = 100_000

// jobReader makes a message of YAML, and keeps where each field stands.
type jobReader struct {
	path     string
	lines    map[string]int
	values   int
	mistakes []mistake
}

func (r *jobReader) fail(n *yaml.Node, at, format string, args ...any) {
	r.mistakes = append(r.mistakes, mistake{r.path, n.Line, at, fmt.Sprintf(format, args...)})
}

// lineOf is the line of a field, or of the nearest thing around it.
func (r *jobReader) lineOf(field string, otherwise int) int {
	for {
		if line, ok := r.lines[field]; ok {
			return line
		}
		i := strings.LastIndexAny(field, ".[")
		if i < 0 {
			return otherwise
		}
		field = field[:i]
	}
}

// take notes where a value stands, and follows an alias.
func (r *jobReader) take(n *yaml.Node, at string) (*yaml.Node, bool) {
	r.lines[at] = n.Line
	if r.values++; r.values == jobValuesMax {
		r.fail(n, at, "the task has more than %d values: shorten it", jobValuesMax)
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n, r.values < jobValuesMax
}

// message reads the fields of a message.
func (r *jobReader) message(n *yaml.Node, m protoreflect.Message, at string) {
	n, ok := r.take(n, at)
	if !ok {
		return
	}
	md := m.Descriptor()
	if n.Kind == yaml.SequenceNode && at == "" {
		r.fail(n, at, "is a list: write each task by itself, with a line of --- between two of them")
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, at, "must have fields, such as %q, not be %s", md.Fields().Get(0).JSONName()+": …", given(n))
		return
	}
	oneofs := map[protoreflect.Name]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f := fieldNamed(md, key.Value)
		field := strings.TrimPrefix(at+"."+key.Value, ".")
		if f != nil {
			field = strings.TrimPrefix(at+"."+f.TextName(), ".")
		}
		_, twice := r.lines[field]
		switch {
		case f == nil:
			r.fail(key, field, "is no field of %s: %s", md.Name(), service.SuggestField(md, key.Value, isInput))
			continue
		case twice:
			r.fail(key, field, "is given twice, in line %d too: give it once", r.lines[field])
			continue
		case outputOnly(f):
			r.fail(key, field, "is output only: leave it out")
			continue
		}
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
			if other := oneofs[o.Name()]; other != "" {
				r.fail(key, field, "is given beside %s: give one of them", other)
				continue
			}
			oneofs[o.Name()] = f.TextName()
		}
		r.field(value, m, f, field)
		r.lines[field] = key.Line
	}
}

func fieldNamed(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if f := md.Fields().ByJSONName(name); f != nil {
		return f
	}
	return md.Fields().ByTextName(name)
}

// field reads a value, a list or a mapping.
func (r *jobReader) field(n *yaml.Node, m protoreflect.Message, f protoreflect.FieldDescriptor, at string) {
	n, ok := r.take(n, at)
	switch {
	case !ok:
	case n.Tag == "!!null" && f.Kind() != protoreflect.BytesKind:
		r.fail(n, at, "has no value: give %s, or leave it out", takes(f))
	case f.IsMap():
		r.mapping(n, m.Mutable(f).Map(), f, at)
	case f.IsList():
		if n.Kind != yaml.SequenceNode {
			r.fail(n, at, "must be a list, such as [a, b], not %s", given(n))
			return
		}
		list := m.Mutable(f).List()
		for i, item := range n.Content {
			if v, ok := r.value(item, f, list.NewElement, fmt.Sprintf("%s[%d]", at, i)); ok {
				list.Append(v)
			}
		}
	default:
		if v, ok := r.value(n, f, func() protoreflect.Value { return m.NewField(f) }, at); ok {
			m.Set(f, v)
		}
	}
}

// mapping reads pairs. Keys are texts in all messages of a task.
func (r *jobReader) mapping(n *yaml.Node, m protoreflect.Map, f protoreflect.FieldDescriptor, at string) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, at, "must be pairs, such as {a: b}, not %s", given(n))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		place := fmt.Sprintf("%s[%q]", at, key.Value)
		k := protoreflect.ValueOfString(key.Value).MapKey()
		if key.Kind != yaml.ScalarNode || m.Has(k) {
			r.fail(key, place, "must be a text that is given once")
			continue
		}
		if v, ok := r.value(value, f.MapValue(), m.NewValue, place); ok {
			m.Set(k, v)
		}
	}
}

// value reads a value of a field, or one of its items.
func (r *jobReader) value(n *yaml.Node, f protoreflect.FieldDescriptor, empty func() protoreflect.Value, at string) (v protoreflect.Value, ok bool) {
	n, ok = r.take(n, at)
	if !ok {
		return v, false
	}
	if f.Kind() == protoreflect.MessageKind && !wellKnown(f) {
		before := len(r.mistakes)
		v = empty()
		r.message(n, v.Message(), at)
		return v, len(r.mistakes) == before
	}
	v, err := scalar(n, f)
	if err != nil {
		r.fail(n, at, "%s", err)
	}
	return v, err == nil
}

// wellKnown messages are written as one value.
func wellKnown(f protoreflect.FieldDescriptor) bool {
	return f.Message() != nil && strings.HasPrefix(string(f.Message().FullName()), "google.protobuf.")
}

// scalar reads a single value. The error says what the field takes.
func scalar(n *yaml.Node, f protoreflect.FieldDescriptor) (protoreflect.Value, error) {
	wrong := fmt.Errorf("must be %s, not %s", takes(f), given(n))
	if f.Kind() == protoreflect.BytesKind {
		b, err := bytesOf(n)
		return protoreflect.ValueOfBytes(b), err
	}
	if n.Kind != yaml.ScalarNode {
		return protoreflect.Value{}, wrong
	}
	isText := n.Tag == "!!str"
	switch f.Kind() {
	case protoreflect.StringKind:
		if isText {
			return protoreflect.ValueOfString(n.Value), nil
		}
		return protoreflect.Value{}, fmt.Errorf("must be text: put %s in quotes", n.Value)
	case protoreflect.BoolKind:
		if n.Tag == "!!bool" {
			return protoreflect.ValueOfBool(strings.EqualFold(n.Value, "true")), nil
		}
	case protoreflect.Int32Kind:
		if v, err := strconv.ParseInt(n.Value, 10, 32); err == nil {
			return protoreflect.ValueOfInt32(int32(v)), nil
		}
	case protoreflect.Int64Kind:
		if v, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return protoreflect.ValueOfInt64(v), nil
		}
		if strings.HasSuffix(string(f.Name()), "_bytes") {
			v, err := parseMemory(n.Value)
			return protoreflect.ValueOfInt64(v), err
		}
	case protoreflect.DoubleKind:
		if v, err := strconv.ParseFloat(n.Value, 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) && !isText {
			return protoreflect.ValueOfFloat64(v), nil
		}
	case protoreflect.EnumKind:
		if v := enumNamed(f.Enum(), n.Value); v != nil {
			return protoreflect.ValueOfEnum(v.Number()), nil
		}
	case protoreflect.MessageKind:
		return instantOrSpan(n, f, wrong)
	}
	return protoreflect.Value{}, wrong
}

// instantOrSpan reads a time or a duration.
func instantOrSpan(n *yaml.Node, f protoreflect.FieldDescriptor, wrong error) (protoreflect.Value, error) {
	switch f.Message().FullName() {
	case "google.protobuf.Duration":
		if d, err := time.ParseDuration(n.Value); err == nil {
			return protoreflect.ValueOfMessage(durationpb.New(d).ProtoReflect()), nil
		}
	case "google.protobuf.Timestamp":
		if t, err := time.Parse(time.RFC3339, n.Value); err == nil {
			return protoreflect.ValueOfMessage(timestamppb.New(t).ProtoReflect()), nil
		}
	}
	return protoreflect.Value{}, wrong
}

// bytesOf are bytes as they are, if they are marked as such, and else the value as
// JSON.
func bytesOf(n *yaml.Node) ([]byte, error) {
	if n.Tag == "!!binary" {
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil {
			return nil, fmt.Errorf("is marked as !!binary, which takes base64: %w", err)
		}
		return b, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("has no form in JSON (%w): give texts as keys, and numbers that are finite", err)
	}
	return b, nil
}

// enumNamed finds a value by its name, or by what is left without its prefix.
func enumNamed(e protoreflect.EnumDescriptor, name string) protoreflect.EnumValueDescriptor {
	for i := range e.Values().Len() {
		if v := e.Values().Get(i); v.Number() != 0 && (string(v.Name()) == name || strings.EqualFold(shortEnum(v), name)) {
			return v
		}
	}
	return nil
}

// shortEnum is SPOT_USE_NEVER as never.
func shortEnum(v protoreflect.EnumValueDescriptor) string {
	unset := v.Parent().(protoreflect.EnumDescriptor).Values().ByNumber(0)
	return strings.ToLower(strings.TrimPrefix(string(v.Name()), strings.TrimSuffix(string(unset.Name()), "UNSPECIFIED")))
}

// given says what stands in the file.
func given(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "pairs"
	case yaml.SequenceNode:
		return "a list"
	}
	if n.Tag == "!!str" {
		return strconv.Quote(short(n.Value, 40))
	}
	return short(n.Value, 40)
}

// takes says what a field takes.
func takes(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.StringKind:
		return "text"
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.Int32Kind:
		return "a whole number of at most 32 bits"
	case protoreflect.Int64Kind:
		if strings.HasSuffix(string(f.Name()), "_bytes") {
			return "bytes, such as 16GiB"
		}
		return "a whole number"
	case protoreflect.DoubleKind:
		return "a number"
	case protoreflect.EnumKind:
		var names []string
		for i := range f.Enum().Values().Len() {
			if v := f.Enum().Values().Get(i); v.Number() != 0 {
				names = append(names, shortEnum(v))
			}
		}
		return "one of " + strings.Join(names, ", ")
	case protoreflect.MessageKind:
		switch f.Message().FullName() {
		case "google.protobuf.Duration":
			return "a duration with its units, such as 90s or 2h30m"
		case "google.protobuf.Timestamp":
			return "a time with its zone, such as 2030-01-31T06:00:00Z"
		}
	}
	return "its fields"
}
