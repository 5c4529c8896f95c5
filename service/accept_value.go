package service

import (
	"math"
	"reflect"
	"slices"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// list is the test of a repeated field.
func (c *compiler) list(m protoreflect.Message, fd protoreflect.FieldDescriptor, left *validate.FieldRules) test {
	r := left.GetRepeated()
	if r == nil {
		r = &validate.RepeatedRules{}
	}
	item := c.item(fd, r.GetItems(), func() protoreflect.Message { return m.New().NewField(fd).List().NewElement().Message() })
	lo, hi := bound(r.HasMinItems(), r.GetMinItems(), 0), bound(r.HasMaxItems(), r.GetMaxItems(), math.MaxInt)
	if r.GetUnique() {
		hi = min(hi, 1) // whether items differ is left to protovalidate
	}
	r.ClearItems()
	r.ClearMinItems()
	r.ClearMaxItems()
	r.ClearUnique()
	if item == nil && !left.HasRepeated() {
		return nil
	}
	return func(v reflect.Value) bool {
		n := v.Len()
		if n < lo || n > hi {
			return false
		}
		for i := 0; item != nil && i < n; i++ {
			if !item(v.Index(i)) {
				return false
			}
		}
		return true
	}
}

// mapTest is the test of a map.
func (c *compiler) mapTest(m protoreflect.Message, fd protoreflect.FieldDescriptor, left *validate.FieldRules) test {
	r := left.GetMap()
	if r == nil {
		r = &validate.MapRules{}
	}
	key := c.item(fd.MapKey(), r.GetKeys(), nil)
	value := c.item(fd.MapValue(), r.GetValues(), func() protoreflect.Message { return m.New().NewField(fd).Map().NewValue().Message() })
	lo, hi := bound(r.HasMinPairs(), r.GetMinPairs(), 0), bound(r.HasMaxPairs(), r.GetMaxPairs(), math.MaxInt)
	r.ClearKeys()
	r.ClearValues()
	r.ClearMinPairs()
	r.ClearMaxPairs()
	if key == nil && value == nil && !left.HasMap() {
		return nil
	}
	return func(v reflect.Value) bool {
		n := v.Len()
		if n < lo || n > hi {
			return false
		}
		if n == 0 { // as in most messages: a walk through pairs takes memory
			return true
		}
		for pairs := v.MapRange(); pairs.Next(); {
			if key != nil && !key(pairs.Key()) || value != nil && !value(pairs.Value()) {
				return false
			}
		}
		return true
	}
}

// item is the test of an item of a list, of a key or a value.
func (c *compiler) item(fd protoreflect.FieldDescriptor, rules *validate.FieldRules, example func() protoreflect.Message) test {
	left := cloneOf(rules)
	t := c.singular(fd, left, example)
	if !isBare(left.ProtoReflect()) {
		return c.never(fd)
	}
	return t
}

// singular is the test of one value. example makes a message of those that are tested.
func (c *compiler) singular(fd protoreflect.FieldDescriptor, left *validate.FieldRules, example func() protoreflect.Message) test {
	switch {
	case left.HasString():
		return stringTest(left.GetString())
	case left.HasBytes():
		return bytesTest(left.GetBytes())
	case left.HasInt32():
		r := left.GetInt32()
		defer r.ClearGte()
		defer r.ClearLte()
		return intTest(r.HasGte(), int64(r.GetGte()), r.HasLte(), int64(r.GetLte()))
	case left.HasInt64():
		r := left.GetInt64()
		defer r.ClearGte()
		defer r.ClearLte()
		return intTest(r.HasGte(), r.GetGte(), r.HasLte(), r.GetLte())
	case left.HasUint64():
		return uintTest(left.GetUint64())
	case left.HasDouble():
		return doubleTest(left.GetDouble())
	case left.HasEnum():
		return enumTest(left.GetEnum(), fd.Enum().Values())
	case left.HasDuration():
		return durationTest(left.GetDuration())
	case left.HasTimestamp():
		return timestampTest(left.GetTimestamp())
	case fd.Message() == nil || fd.Message().ParentFile().Package() == "google.protobuf":
		return nil // those have no rules of their own
	}
	s := c.message(example())
	return func(v reflect.Value) bool { return !v.IsNil() && s.accepts(v.Elem()) }
}

func stringTest(r *validate.StringRules) test {
	lo, hi := bound(r.HasMinBytes(), r.GetMinBytes(), 0), bound(r.HasMaxBytes(), r.GetMaxBytes(), math.MaxInt)
	matches, err := matcher(r.GetPattern()) // that of none fits everything
	if err != nil {
		return nil // its rule is left over
	}
	empty, free := lo == 0 && matches(""), r.GetPattern() == ""
	r.ClearMinBytes()
	r.ClearMaxBytes()
	r.ClearPattern()
	return func(v reflect.Value) bool {
		n := v.Len()
		switch {
		case n == 0:
			return empty
		case n < lo || n > hi:
			return false
		}
		return free || matches(v.String())
	}
}

func bytesTest(r *validate.BytesRules) test {
	hi := bound(r.HasMaxLen(), r.GetMaxLen(), math.MaxInt)
	r.ClearMaxLen()
	return func(v reflect.Value) bool { return v.Len() <= hi }
}

func intTest(hasLo bool, lo int64, hasHi bool, hi int64) test {
	if !hasLo {
		lo = math.MinInt64
	}
	if !hasHi {
		hi = math.MaxInt64
	}
	return func(v reflect.Value) bool { return lo <= v.Int() && v.Int() <= hi }
}

func uintTest(r *validate.UInt64Rules) test {
	lo, hi := r.GetGte(), uint64(math.MaxUint64)
	if r.HasLte() {
		hi = r.GetLte()
	}
	r.ClearGte()
	r.ClearLte()
	return func(v reflect.Value) bool { return lo <= v.Uint() && v.Uint() <= hi }
}

func doubleTest(r *validate.DoubleRules) test {
	lo, hi := math.Inf(-1), math.Inf(1)
	if r.HasGte() {
		lo = r.GetGte()
	}
	if r.HasLte() {
		hi = r.GetLte()
	}
	r.ClearGte()
	r.ClearLte()
	return func(v reflect.Value) bool { return lo <= v.Float() && v.Float() <= hi } // no NaN
}

func enumTest(r *validate.EnumRules, known protoreflect.EnumValueDescriptors) test {
	in, notIn, defined := slices.Clone(r.GetIn()), slices.Clone(r.GetNotIn()), r.GetDefinedOnly()
	r.SetIn(nil)
	r.SetNotIn(nil)
	r.ClearDefinedOnly()
	return func(v reflect.Value) bool {
		n := int32(v.Int()) //nolint:gosec // an enum is of 32 bits
		return (len(in) == 0 || slices.Contains(in, n)) && !slices.Contains(notIn, n) &&
			(!defined || known.ByNumber(protoreflect.EnumNumber(n)) != nil)
	}
}

func durationTest(r *validate.DurationRules) test {
	lo, hi := time.Duration(math.MinInt64), time.Duration(math.MaxInt64)
	if r.HasGte() {
		lo = r.GetGte().AsDuration()
	}
	if r.HasLte() {
		hi = r.GetLte().AsDuration()
	}
	r.ClearGte()
	r.ClearLte()
	return func(v reflect.Value) bool {
		d, ok := reflect.TypeAssert[*durationpb.Duration](v)
		return ok && d.IsValid() && lo <= d.AsDuration() && d.AsDuration() <= hi
	}
}

func timestampTest(r *validate.TimestampRules) test {
	lo, end := r.GetGte(), r.GetLt()
	r.ClearGte()
	r.ClearLt()
	return func(v reflect.Value) bool {
		t, ok := reflect.TypeAssert[*timestamppb.Timestamp](v)
		return ok && t.IsValid() && (lo == nil || !t.AsTime().Before(lo.AsTime())) && (end == nil || t.AsTime().Before(end.AsTime()))
	}
}

// bound is a limit of the contract, or what stands for none.
func bound(set bool, n uint64, none int) int {
	switch {
	case !set:
		return none
	case n > math.MaxInt:
		return math.MaxInt
	}
	return int(n)
}

func cloneOf(rules *validate.FieldRules) *validate.FieldRules {
	if rules == nil {
		return &validate.FieldRules{}
	}
	return proto.CloneOf(rules)
}

// isBare reports whether no rule is set in a message of rules.
func isBare(m protoreflect.Message) bool {
	bare := len(m.GetUnknown()) == 0
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		bare = bare && fd.Message() != nil && !fd.IsList() && !fd.IsMap() &&
			fd.Message().ParentFile() == m.Descriptor().ParentFile() && isBare(v.Message())
		return bare
	})
	return bare
}
