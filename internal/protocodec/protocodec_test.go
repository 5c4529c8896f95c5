package protocodec_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/protocodec"
)

// everyMessage calls f for each type of the contract.
func everyMessage(f func(protoreflect.MessageType)) {
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		if mt.Descriptor().ParentFile().Package() == "controlplane.v1" && !mt.Descriptor().IsMapEntry() {
			f(mt)
		}
		return true
	})
}

// TestWritesWhatProtobufReads writes each message empty, with each of its fields alone, and
// with all of them, and reads it by protobuf's own code.
func TestWritesWhatProtobufReads(t *testing.T) {
	_ = v1.File_controlplane_v1_task_proto
	n := 0
	everyMessage(func(mt protoreflect.MessageType) {
		n++
		all := mt.New()
		check(t, all)
		for i := range mt.Descriptor().Fields().Len() {
			fd := mt.Descriptor().Fields().Get(i)
			one := mt.New()
			fill(one, fd, 4)
			check(t, one)
			fill(all, fd, 4)
		}
		all.SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 9999, protowire.BytesType), "of a later release"))
		check(t, all)
	})
	if n < 50 {
		t.Errorf("%d messages", n)
	}
}

func check(t *testing.T, m protoreflect.Message) {
	t.Helper()
	prefix := []byte("what is there already")
	b, err := protocodec.Codec{}.MarshalAppend(prefix, m.Interface())
	if err != nil {
		t.Fatalf("%s: %v", m.Descriptor().FullName(), err)
	}
	b, ok := bytes.CutPrefix(b, prefix)
	back := m.New().Interface()
	if err := proto.Unmarshal(b, back); err != nil || !ok || !proto.Equal(back, m.Interface()) {
		t.Errorf("%v\nis read as\n%v: %v", m.Interface(), back, err)
	}
	if size := protocodec.Size(m.Interface()); size != len(b) || size != proto.Size(m.Interface()) {
		t.Errorf("%s: %d bytes, Size says %d, protobuf's %d", m.Descriptor().FullName(), len(b), size, proto.Size(m.Interface()))
	}
}

// fill sets a field, of a list or a map two items, and what is in it.
func fill(m protoreflect.Message, fd protoreflect.FieldDescriptor, depth int) {
	switch {
	case fd.IsMap():
		values := m.Mutable(fd).Map()
		for _, k := range []string{"key", "another"} {
			values.Set(protoreflect.ValueOfString(k).MapKey(), value(fd.MapValue(), values.NewValue, depth))
		}
	case fd.IsList():
		list := m.Mutable(fd).List()
		for range 2 {
			list.Append(value(fd, list.NewElement, depth))
		}
	default:
		m.Set(fd, value(fd, func() protoreflect.Value { return m.NewField(fd) }, depth))
	}
}

func value(fd protoreflect.FieldDescriptor, fresh func() protoreflect.Value, depth int) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("zwölf Boxkämpfer " + string(fd.Name()))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0, 255, 128})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(-1 << 31)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(-1 << 63)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1<<64 - 1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(-0.25)
	case protoreflect.MessageKind:
		v := fresh()
		for i := 0; depth > 0 && i < fd.Message().Fields().Len(); i++ {
			fill(v.Message(), fd.Message().Fields().Get(i), depth-1)
		}
		return v
	}
	panic("the contract has a field of kind " + fd.Kind().String() + ": give it a value here")
}

// TestEveryMessageHasItsCode guards against stubs that were made without it.
func TestEveryMessageHasItsCode(t *testing.T) {
	everyMessage(func(mt protoreflect.MessageType) {
		if _, ok := mt.New().Interface().(interface{ SizeVT() int }); !ok {
			t.Errorf("%s is written by reflection", mt.Descriptor().FullName())
		}
	})
}

func TestWhatIsNotOfTheContract(t *testing.T) {
	c := protocodec.Codec{}
	d := durationpb.New(1)
	b, err := c.Marshal(d)
	back := &durationpb.Duration{}
	if err != nil || c.Unmarshal(b, back) != nil || !proto.Equal(d, back) || protocodec.Size(d) != len(b) {
		t.Errorf("%v is read as %v: %v", d, back, err)
	}
	if _, err := c.Marshal("text"); err == nil {
		t.Error("a string is written")
	}
	if err := c.Unmarshal([]byte{10, 1, 255}, &v1.Task{}); err == nil {
		t.Error("a text that is no UTF-8 is read")
	}
}

// BenchmarkMarshal writes the answer to a batch of 30 tasks, by this codec and by protobuf.
func BenchmarkMarshal(b *testing.B) {
	m := &v1.SubmitTasksResponse{}
	for range 30 {
		task := &v1.Task{Id: "0197b0a4-0000-7000-8000-000000000000", Queue: "default", Status: v1.TaskStatus_TASK_STATUS_RUNNING, Attempt: 1,
			Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "f", Payload: make([]byte, 256)}}}
		m.Outcomes = append(m.Outcomes, &v1.SubmitTaskOutcome{Outcome: &v1.SubmitTaskOutcome_Task{Task: task}})
	}
	buffer := make([]byte, 0, 64<<10)
	for name, write := range map[string]func() error{
		"codec":    func() error { _, err := protocodec.Codec{}.MarshalAppend(buffer, m); return err },
		"protobuf": func() error { _, err := proto.MarshalOptions{}.MarshalAppend(buffer, m); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := write(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
