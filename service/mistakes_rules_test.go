package service

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// goodParts are messages, by name, in which every rule of the contract holds.
// Mistakes are made in them one at a time.
var goodParts = map[string]string{
	"Task":                     `{"exec":{"command":["true"]}}`,
	"ExecTask":                 `{"command":["true"]}`,
	"FunctionTask":             `{"name":"f"}`,
	"SubmitTaskRequest":        `{"task":{"exec":{"command":["true"]}}}`,
	"SubmitTasksRequest":       `{"requests":[{"task":{"exec":{"command":["true"]}}}]}`,
	"GetTaskRequest":           `{"id":"running"}`,
	"GetTasksRequest":          `{"ids":["running"]}`,
	"CancelTasksRequest":       `{"queue":"nobody"}`,
	"RetryTaskRequest":         `{"id":"running"}`,
	"CancelTaskRequest":        `{"id":"done"}`,
	"NodeSpec":                 `{"slots":1}`,
	"LabelSelector":            `{"key":"k","operator":"LABEL_OPERATOR_EXISTS"}`,
	"HeldAttempt":              `{"task_id":"x","attempt":1}`,
	"TaskResult":               `{"task_id":"x","attempt":1,"status":"TASK_STATUS_COMPLETED"}`,
	"HeartbeatRequest":         `{"node_id":"n9","session_id":"s9"}`,
	"PollTaskRequest":          `{"node_id":"n9","session_id":"s9"}`,
	"ReportTaskResultRequest":  `{"node_id":"n9","session_id":"s9","task_id":"x","attempt":1,"status":"TASK_STATUS_COMPLETED"}`,
	"ReportTaskResultsRequest": `{"node_id":"n9","session_id":"s9"}`,
	"GetNodeRequest":           `{"id":"n1"}`,
	"CordonNodeRequest":        `{"id":"n1"}`,
	"UncordonNodeRequest":      `{"id":"n1"}`,
	"RemoveNodeRequest":        `{"id":"n1"}`,
	"DrainNodeRequest":         `{"id":"n1"}`,
	"ExplainTaskRequest":       `{"id":"running"}`,
	"JoinMemberRequest":        `{"address":"127.0.0.1:1"}`,
	"RemoveMemberRequest":      `{"name":"solo"}`,
	"PromoteMemberRequest":     `{"name":"solo"}`,
	"Queue":                    `{"name":"q"}`,
	"CreateQueueRequest":       `{"queue":{"name":"default"}}`,
	"UpdateQueueRequest":       `{"queue":{"name":"default"}}`,
	"PauseQueueRequest":        `{"name":"default"}`,
	"ResumeQueueRequest":       `{"name":"default"}`,
	"DeleteQueueRequest":       `{"name":"default"}`,
	"GetQueueRequest":          `{"name":"default"}`,
	"LogChunk":                 `{"task_id":"x","attempt":1}`,
	"PushLogsRequest":          `{"node_id":"n9","session_id":"s9"}`,
	"ReadLogRequest":           `{"task_id":"done"}`,
	"TailLogRequest":           `{"task_id":"done"}`,
	"QueryRequest":             `{"sql":"SELECT 1"}`,
}

func good(md protoreflect.MessageDescriptor) map[string]any {
	out := map[string]any{}
	if text, ok := goodParts[string(md.Name())]; ok {
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			panic(err)
		}
	}
	return out
}

// ruleMistakes breaks every rule that the contract's descriptors have, each in the
// first method whose request holds its message.
func ruleMistakes() []mistake {
	b := &ruleBreaker{seen: map[protoreflect.FullName]bool{}}
	for _, m := range allMethods() {
		b.method = strings.TrimPrefix(pathOf(m), "/controlplane.v1.")
		b.streams = m.IsStreamingServer()
		b.message(m.Input(), "", func(request map[string]any) map[string]any { return request })
	}
	return b.all
}

type ruleBreaker struct {
	method  string
	streams bool
	seen    map[protoreflect.FullName]bool
	all     []mistake
}

// message breaks the rules of a message's fields. around puts the message, with its
// mistake, into a whole request.
func (b *ruleBreaker) message(md protoreflect.MessageDescriptor, path string, around func(map[string]any) map[string]any) {
	if b.seen[md.FullName()] || md.ParentFile().Package() != "controlplane.v1" {
		return
	}
	b.seen[md.FullName()] = true
	for i := range md.Oneofs().Len() {
		o := md.Oneofs().Get(i)
		if rules, ok := proto.GetExtension(o.Options(), validate.E_Oneof).(*validate.OneofRules); ok && rules.GetRequired() {
			part := good(md)
			clearOneof(part, o)
			b.add(path+string(o.Name())+": none is given", around(part))
		}
	}
	for i := range md.Fields().Len() {
		b.field(md, md.Fields().Get(i), path, around)
	}
}

func (b *ruleBreaker) field(md protoreflect.MessageDescriptor, f protoreflect.FieldDescriptor, path string, around func(map[string]any) map[string]any) {
	name := string(f.Name())
	with := func(value any) map[string]any {
		part := good(md)
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
			clearOneof(part, o)
		}
		if part[name] = value; value == nil {
			delete(part, name)
		}
		return around(part)
	}
	rules, _ := proto.GetExtension(f.Options(), validate.E_Field).(*validate.FieldRules)
	b.rules(f, rules, func(what string, value any) { b.add(path+name+" "+what, with(value)) })
	if f.Message() == nil || f.IsMap() {
		return
	}
	if f.IsList() {
		b.message(f.Message(), path+name+"[1].", func(part map[string]any) map[string]any { return with([]any{good(f.Message()), part}) })
		return
	}
	b.message(f.Message(), path+name+".", func(part map[string]any) map[string]any { return with(part) })
}

func clearOneof(part map[string]any, o protoreflect.OneofDescriptor) {
	for i := range o.Fields().Len() {
		delete(part, string(o.Fields().Get(i).Name()))
	}
}

func (b *ruleBreaker) add(what string, request map[string]any) {
	text, err := json.Marshal(request)
	if err != nil {
		panic(err)
	}
	c := mistake{group: "Rules of the contract", what: what, method: b.method, body: string(text)}
	if b.streams {
		c.proto = "Connect stream"
	}
	b.all = append(b.all, c)
}

// rules calls broken with a value that breaks each rule. A kind of rule for which
// there is no case stops the test: write one.
func (b *ruleBreaker) rules(f protoreflect.FieldDescriptor, rules *validate.FieldRules, broken func(what string, value any)) {
	for _, kind := range setFields(rules.ProtoReflect()) {
		if kind.Name() == "required" {
			broken("is not given", nil)
			continue
		}
		of := rules.ProtoReflect().Get(kind).Message()
		for _, rule := range setFields(of) {
			id := string(kind.Name()) + "." + string(rule.Name())
			switch id {
			case "repeated.items":
				b.rules(f, rules.GetRepeated().GetItems(), func(what string, value any) { broken("has an item that "+what, []any{value}) })
			case "map.keys":
				b.rules(f.MapKey(), rules.GetMap().GetKeys(), func(what string, value any) {
					broken("has a key that "+what, map[string]any{value.(string): mapValue(f)})
				})
			case "map.values":
				b.rules(f.MapValue(), rules.GetMap().GetValues(), func(what string, value any) { broken("has a value that "+what, map[string]any{"k": value}) })
			default:
				broken(breakRule(id, f, of.Get(rule)))
			}
		}
	}
}

// setFields are the fields of a message that are set, by number: Range has no order.
func setFields(m protoreflect.Message) (fields []protoreflect.FieldDescriptor) {
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		fields = append(fields, f)
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number() - b.Number()) })
	return fields
}

func breakRule(id string, f protoreflect.FieldDescriptor, limit protoreflect.Value) (what string, value any) {
	text := func(n uint64) string { return strings.Repeat("x", int(n)) }
	switch id {
	case "string.min_bytes":
		return "is empty", ""
	case "string.max_bytes":
		return fmt.Sprintf("has more than %d bytes", limit.Uint()), text(limit.Uint() + 1)
	case "string.pattern":
		return "has a character that is not allowed", "a b"
	case "bytes.max_len":
		return fmt.Sprintf("has more than %d bytes", limit.Uint()), base64.StdEncoding.EncodeToString(make([]byte, limit.Uint()+1))
	case "int32.gte", "int64.gte":
		return fmt.Sprintf("is below %d", limit.Int()), limit.Int() - 1
	case "int32.lte", "int64.lte":
		return fmt.Sprintf("is above %d", limit.Int()), limit.Int() + 1
	case "uint64.lte":
		return fmt.Sprintf("is above %d", limit.Uint()), limit.Uint() + 1
	case "double.gte":
		return fmt.Sprintf("is below %v", limit.Float()), limit.Float() - 0.5
	case "double.lte":
		return fmt.Sprintf("is above %v", limit.Float()), limit.Float() + 0.5
	case "timestamp.gte":
		return "is too early", "1969-12-31T23:59:59Z"
	case "timestamp.lt":
		return "is too late", "2100-01-01T00:00:00Z"
	case "duration.gte":
		return "is too short", fmt.Sprintf("%.9fs", durationOf(limit).AsDuration().Seconds()-0.0005)
	case "duration.lte":
		return "is too long", fmt.Sprintf("%ds", durationOf(limit).GetSeconds()+1)
	case "enum.defined_only":
		return "has a number that the contract does not have", 99
	case "enum.in":
		other := "TASK_STATUS_RUNNING"
		for i := range limit.List().Len() {
			if limit.List().Get(i).Int() == int64(v1.TaskStatus_TASK_STATUS_RUNNING) {
				other = "TASK_STATUS_COMPLETED"
			}
		}
		return "is not given, or one that cannot be meant here", other
	case "enum.not_in":
		return "is unspecified", 0
	case "repeated.min_items":
		return "has no items", []any{}
	case "repeated.max_items":
		return fmt.Sprintf("has more than %d items", limit.Uint()), items(f, int(limit.Uint())+1)
	case "repeated.unique":
		twice := items(f, 2)
		return "has an item twice", append(twice, twice[0])
	case "map.max_pairs":
		pairs := map[string]any{}
		for i := range limit.Uint() + 1 {
			pairs[fmt.Sprintf("k%d", i)] = mapValue(f)
		}
		return fmt.Sprintf("has more than %d pairs", limit.Uint()), pairs
	}
	panic("there is no case for the rule " + id + " of " + string(f.FullName()))
}

// mapValue is a value that a map takes.
func mapValue(f protoreflect.FieldDescriptor) any {
	if f.MapValue().Kind() == protoreflect.StringKind {
		return "v"
	}
	return 1
}

func durationOf(v protoreflect.Value) *durationpb.Duration {
	return v.Message().Interface().(*durationpb.Duration)
}

// items are n values that a list takes.
func items(f protoreflect.FieldDescriptor, n int) []any {
	out := make([]any, n)
	for i := range out {
		switch {
		case f.Kind() == protoreflect.EnumKind:
			out[i] = 1
		case f.Kind() == protoreflect.StringKind:
			out[i] = fmt.Sprintf("x%d", i)
		case f.Kind() == protoreflect.Int32Kind:
			out[i] = i
		case f.Message().FullName() == "google.protobuf.Value":
			out[i] = i
		default:
			out[i] = maps.Clone(good(f.Message()))
		}
	}
	return out
}
