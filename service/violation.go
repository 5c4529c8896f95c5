package service

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Limits on what a refusal says: it travels in headers, and is read by people.
const (
	maxViolations   = 20
	maxFieldBytes   = 200
	maxMessageFault = 3 // violations in the message itself; the details have more
)

// fromValidation gives a refusal by the contract's rules the form of all others:
// what was given, what is allowed, and what to do. Other errors stay as they are.
func fromValidation(procedure string, ce *connect.Error) *connect.Error {
	var ve *protovalidate.ValidationError
	if !errors.As(ce, &ve) {
		return ce
	}
	bad := &errdetails.BadRequest{}
	var text []string
	for _, v := range ve.Violations[:min(len(ve.Violations), maxViolations)] {
		field, why := shortField(protovalidate.FieldPathString(v.Proto.GetField())), explainRule(procedure, v)
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: field, Description: why})
		if len(text) < maxMessageFault {
			text = append(text, field+": "+why)
		}
	}
	if more := len(ve.Violations) - len(text); more > 0 {
		text = append(text, fmt.Sprintf("and %d more", more))
	}
	out := connect.NewError(ce.Code(), errors.New(strings.Join(text, "; ")))
	addDetail(out, bad)
	return out
}

// shortField shortens a path with a map's key in it, which may be as long as a
// message.
func shortField(path string) string {
	if len(path) <= maxFieldBytes {
		return path
	}
	head, tail := path[:maxFieldBytes/2], path[len(path)-maxFieldBytes/4:]
	return strings.ToValidUTF8(head, "") + "…" + strings.ToValidUTF8(tail, "")
}

// explainRule says what is wrong in words of our own where the validator's are for
// programmers.
func explainRule(procedure string, v *protovalidate.Violation) string {
	field, oneof := lookUp(procedure, v.Proto.GetField())
	given := v.FieldValue
	switch {
	case oneof != nil:
		return "is missing: give " + anyOf(fieldNames(oneof.Fields()))
	case v.Proto.GetRuleId() == "required":
		return "is missing: give it"
	case field == nil || !given.IsValid():
		return v.Proto.GetMessage()
	case field.Name() == "page_token":
		return notOurToken
	}
	switch rules := rulesOf(field, v.Proto.GetRule()); {
	case rules.HasString():
		return explainString(rules.GetString(), given.String())
	case rules.HasBytes():
		return fmt.Sprintf("has %d bytes, at most %d are allowed: shorten it, or store it elsewhere and give its address", len(given.Bytes()), rules.GetBytes().GetMaxLen())
	case rules.HasInt32():
		r := rules.GetInt32()
		return explainNumber(given.Int(), int64(r.GetGte()), int64(r.GetLte()), r.HasLte())
	case rules.HasInt64():
		r := rules.GetInt64()
		return explainNumber(given.Int(), r.GetGte(), r.GetLte(), r.HasLte())
	case rules.HasUint64():
		return fmt.Sprintf("is %d: give at most %d", given.Uint(), rules.GetUint64().GetLte())
	case rules.HasDouble():
		r := rules.GetDouble()
		return fmt.Sprintf("is %v: give %v to %v", given.Float(), r.GetGte(), r.GetLte())
	case rules.HasTimestamp():
		r := rules.GetTimestamp()
		return fmt.Sprintf("is out of range: give a time from %s to before %s", instant(r.GetGte()), instant(r.GetLt()))
	case rules.HasDuration():
		return explainDuration(rules.GetDuration(), given.Message().Interface())
	case rules.HasEnum():
		return explainEnum(rules.GetEnum(), field.Enum(), given.Enum())
	case rules.HasRepeated():
		return explainList(rules.GetRepeated(), v.Proto.GetRuleId(), given.List())
	case rules.HasMap():
		return fmt.Sprintf("has %d pairs, at most %d are allowed: give fewer", given.Map().Len(), rules.GetMap().GetMaxPairs())
	}
	return v.Proto.GetMessage()
}

// rulesOf are the rules that a value has broken: the field's, or those of its items,
// keys or values.
func rulesOf(field protoreflect.FieldDescriptor, path *validate.FieldPath) *validate.FieldRules {
	rules, _ := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
	for _, e := range path.GetElements() {
		switch e.GetFieldName() {
		case "items":
			rules = rules.GetRepeated().GetItems()
		case "keys":
			rules = rules.GetMap().GetKeys()
		case "values":
			rules = rules.GetMap().GetValues()
		}
	}
	return rules
}

// patternWords are the patterns of the contract in words.
var patternWords = map[string]string{
	`^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$`:          "1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit; or leave it empty",
	`^([A-Za-z0-9][A-Za-z0-9._-]{0,62})?$`:          "up to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit",
	`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`:             "1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit",
	`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`:             "1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit",
	`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`:          "1 to 128 letters, digits, '.', '_', '-', '/' or ':', beginning with a letter or digit",
	`^(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?$`: "a W3C traceparent such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, in lower case; or leave it empty",
	`^[ -~]{0,512}$`:                                "at most 512 printable ASCII characters, such as vendor=value; or leave it empty",
}

func explainString(r *validate.StringRules, given string) string {
	switch {
	case r.HasPattern():
		words := patternWords[r.GetPattern()]
		if words == "" {
			words = "what matches " + r.GetPattern()
		}
		if given == "" {
			return "is missing: give " + words
		}
		return quoted(given) + " is not allowed: give " + words
	case given == "" && r.HasMinBytes():
		return fmt.Sprintf("is missing: give %d to %d bytes", r.GetMinBytes(), r.GetMaxBytes())
	}
	return fmt.Sprintf("has %d bytes, at most %d are allowed: shorten it", len(given), r.GetMaxBytes())
}

func explainNumber(given, from, to int64, bounded bool) string {
	if !bounded || to == math.MaxInt64 {
		return fmt.Sprintf("is %d: give %d or more", given, from)
	}
	return fmt.Sprintf("is %d: give %d to %d", given, from, to)
}

func explainDuration(r *validate.DurationRules, given protoreflect.ProtoMessage) string {
	d, ok := given.(*durationpb.Duration)
	if !ok {
		return "is out of range"
	}
	return fmt.Sprintf("is %s: give %s to %s", seconds(d), seconds(r.GetGte()), seconds(r.GetLte()))
}

// seconds writes a duration as JSON has it.
func seconds(d *durationpb.Duration) string {
	return strconv.FormatFloat(float64(d.GetSeconds())+float64(d.GetNanos())/1e9, 'f', -1, 64) + "s"
}

// instant writes a time as JSON has it.
func instant(t *timestamppb.Timestamp) string { return t.AsTime().Format(time.RFC3339) }

func explainEnum(r *validate.EnumRules, e protoreflect.EnumDescriptor, given protoreflect.EnumNumber) string {
	var names []string
	for i := range e.Values().Len() {
		n := e.Values().Get(i)
		if number := int32(n.Number()); number != 0 && (len(r.GetIn()) == 0 || slices.Contains(r.GetIn(), number)) && !slices.Contains(r.GetNotIn(), number) {
			names = append(names, string(n.Name()))
		}
	}
	what := fmt.Sprintf("is %d, which has no meaning", given)
	if n := e.Values().ByNumber(given); n != nil {
		if what = "cannot be " + string(n.Name()); given == 0 {
			what = "is missing"
		}
	}
	return what + ": give " + anyOf(names)
}

func explainList(r *validate.RepeatedRules, id string, given protoreflect.List) string {
	switch {
	case id == "repeated.unique":
		seen := map[any]int{}
		for i := range given.Len() {
			if j, ok := seen[given.Get(i).Interface()]; ok {
				return fmt.Sprintf("its items %d and %d are the same, counted from 0: give each once", j, i)
			}
			seen[given.Get(i).Interface()] = i
		}
	case given.Len() == 0:
		return fmt.Sprintf("is empty: give %d to %d items", r.GetMinItems(), r.GetMaxItems())
	}
	return fmt.Sprintf("has %d items, at most %d are allowed: give fewer", given.Len(), r.GetMaxItems())
}

// anyOf lists what there is to choose from.
func anyOf(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// lookUp finds the field or the oneof to which a path leads; nil and nil if it is not
// known.
func lookUp(procedure string, path *validate.FieldPath) (field protoreflect.FieldDescriptor, oneof protoreflect.OneofDescriptor) {
	md := inputOf(procedure)
	for _, e := range path.GetElements() {
		if md == nil {
			return nil, nil
		}
		name := protoreflect.Name(e.GetFieldName())
		if field = md.Fields().ByName(name); field == nil {
			return nil, md.Oneofs().ByName(name)
		}
		md = messageOf(field)
	}
	return field, nil
}

// inputOf is the request message of a procedure, nil if it is not known.
func inputOf(procedure string) protoreflect.MessageDescriptor {
	name := strings.ReplaceAll(strings.TrimPrefix(procedure, "/"), "/", ".")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if m, ok := d.(protoreflect.MethodDescriptor); ok && err == nil {
		return m.Input()
	}
	return nil
}
