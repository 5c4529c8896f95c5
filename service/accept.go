package service

import (
	"reflect"
	"strings"
	"sync"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/runtime/protoimpl"
)

// Nearly every request keeps the rules of the contract, and is recognised by a quick look:
// the rules of each message are compiled once into tests of its Go struct's fields. What is
// not recognised goes to protovalidate, which has the last word and finds the violations; it
// asks descriptors about each field of each message, which took a twentieth of the CPU of a
// task's life. A rule of a kind that is not known here makes requests slower, no more.

// quickValidator is protovalidate after that look.
type quickValidator struct{}

// Validate implements protovalidate.Validator.
func (quickValidator) Validate(m proto.Message, opts ...protovalidate.ValidationOption) error {
	if accepts(m) {
		return nil
	}
	return protovalidate.Validate(m, opts...)
}

// accepts reports whether a message certainly keeps the rules of the contract.
func accepts(m proto.Message) bool {
	v := reflect.ValueOf(m)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return false
	}
	s, ok := shapes.Load(v.Type())
	if !ok {
		s = compileShape(m.ProtoReflect())
	}
	return s.(*shape).accepts(v.Elem())
}

// shapes has the *shape of each message type, by the type of its pointer.
var (
	shapes   sync.Map
	shapesMu sync.Mutex
)

// shape is what has to be tested in messages of a type. Fields without rules are not in it.
type shape struct{ checks []check }

// check is a test of one field of a struct.
type check struct {
	index int
	test  test
}

// test reports whether a value certainly keeps its rules. None is needed where it is nil.
type test func(reflect.Value) bool

func (s *shape) accepts(message reflect.Value) bool {
	for i := range s.checks {
		if c := &s.checks[i]; !c.test(message.Field(c.index)) {
			return false
		}
	}
	return true
}

// compileShape compiles the rules of a message and of those within it.
func compileShape(m protoreflect.Message) *shape {
	shapesMu.Lock()
	defer shapesMu.Unlock()
	c := &compiler{shapes: map[reflect.Type]*shape{}}
	s := c.message(m)
	for t, s := range c.shapes { // not before all are whole: a message may hold another of its kind
		shapes.LoadOrStore(t, s)
	}
	return s
}

// compiler makes shapes.
type compiler struct {
	shapes map[reflect.Type]*shape
	// unknown is what has rules that are not known here.
	unknown []protoreflect.FullName
}

// never is the test of what has rules that are not known here.
func (c *compiler) never(d protoreflect.Descriptor) test {
	c.unknown = append(c.unknown, d.FullName())
	return func(reflect.Value) bool { return false }
}

func (c *compiler) message(m protoreflect.Message) *shape {
	t := reflect.TypeOf(m.Interface())
	if s, ok := c.shapes[t]; ok {
		return s
	}
	s := &shape{}
	c.shapes[t] = s
	_, generated := m.Type().(*protoimpl.MessageInfo) // its fields are those of a struct
	rules, err := protovalidate.ResolveMessageRules(m.Descriptor())
	if !generated || err != nil || !isBare(rules.ProtoReflect()) {
		s.checks = []check{{0, c.never(m.Descriptor())}}
		return s
	}
	for i := range t.Elem().NumField() {
		if test := c.structField(m, t.Elem().Field(i)); test != nil {
			s.checks = append(s.checks, check{i, test})
		}
	}
	return s
}

// structField is the test of a field of the Go struct: a field of the message, a oneof, or
// what is protobuf's own.
func (c *compiler) structField(m protoreflect.Message, f reflect.StructField) test {
	if name := f.Tag.Get("protobuf_oneof"); name != "" {
		return c.oneof(m, m.Descriptor().Oneofs().ByName(protoreflect.Name(name)))
	}
	for part := range strings.SplitSeq(f.Tag.Get("protobuf"), ",") {
		if name, ok := strings.CutPrefix(part, "name="); ok {
			return c.field(m, m.Descriptor().Fields().ByName(protoreflect.Name(name)))
		}
	}
	return nil
}

// oneof tests what the wrapper holds that is set.
func (c *compiler) oneof(m protoreflect.Message, d protoreflect.OneofDescriptor) test {
	rules, err := protovalidate.ResolveOneofRules(d)
	if err != nil {
		return c.never(d)
	}
	members := map[reflect.Type]test{}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		example := m.New()
		example.Set(fd, example.NewField(fd))
		members[wrapperOf(example, d)] = c.field(m, fd)
	}
	required := rules.GetRequired()
	return func(v reflect.Value) bool {
		if v.IsNil() {
			return !required
		}
		test, ok := members[v.Elem().Type()]
		return ok && (test == nil || test(v.Elem().Elem().Field(0)))
	}
}

// wrapperOf is the type by which a message holds the member of a oneof that is set.
func wrapperOf(m protoreflect.Message, d protoreflect.OneofDescriptor) reflect.Type {
	v := reflect.ValueOf(m.Interface()).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("protobuf_oneof") == string(d.Name()) {
			return v.Field(i).Elem().Type()
		}
	}
	return nil
}

// field is the test of a field by all its rules. Each kind takes the rules that it knows
// out of left; if any remain, no value is recognised.
func (c *compiler) field(m protoreflect.Message, fd protoreflect.FieldDescriptor) test {
	rules, err := protovalidate.ResolveFieldRules(fd)
	if err != nil {
		return c.never(fd)
	}
	left := cloneOf(rules)
	var t test
	switch {
	case fd.IsMap():
		t = c.mapTest(m, fd, left)
	case fd.IsList():
		t = c.list(m, fd, left)
	default:
		t = c.singular(fd, left, func() protoreflect.Message { return m.New().NewField(fd).Message() })
		if fd.HasOptionalKeyword() || fd.HasPresence() && fd.ContainingOneof() == nil {
			t = present(t, fd, left.GetRequired())
			left.ClearRequired()
		}
	}
	if !isBare(left.ProtoReflect()) {
		return c.never(fd)
	}
	return t
}

// present is the test of a field that may not be set, by that of its value.
func present(t test, fd protoreflect.FieldDescriptor, required bool) test {
	behind := fd.Message() == nil && fd.Kind() != protoreflect.BytesKind // Go has a pointer to the value
	if t == nil && !required {
		return nil
	}
	return func(v reflect.Value) bool {
		if v.IsNil() {
			return !required
		}
		if behind {
			v = v.Elem()
		}
		return t == nil || t(v)
	}
}
