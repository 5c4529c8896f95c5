package main

import (
	"regexp"
	"strings"
	"sync"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	contract "github.com/raft-control-plane/control-plane/proto"
)

// fieldComments are the comments of the contract on its fields, as Message.field.
var fieldComments = sync.OnceValue(func() map[string]string { return commentsOf(contract.Task) })

var (
	protoMessage = regexp.MustCompile(`^message (\w+) \{`)
	protoField   = regexp.MustCompile(`^(?:repeated |optional )?(?:map<[^>]+>|[\w.]+) (\w+) = [0-9]+`)
)

// commentsOf reads the comment above each field.
func commentsOf(text string) map[string]string {
	out := map[string]string{}
	message, comment := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if words, ok := strings.CutPrefix(line, "//"); ok {
			comment += words
			continue
		}
		if m := protoMessage.FindStringSubmatch(line); m != nil {
			message = m[1]
		} else if m := protoField.FindStringSubmatch(line); m != nil {
			out[message+"."+m[1]] = strings.TrimSpace(comment)
		}
		comment = ""
	}
	return out
}

func commentOf(f protoreflect.FieldDescriptor) string {
	return fieldComments()[string(f.Parent().Name())+"."+string(f.Name())]
}

// outputOnly reports whether a field is for answers only.
func outputOnly(f protoreflect.FieldDescriptor) bool {
	return strings.HasPrefix(commentOf(f), "Output only.")
}

func isInput(f protoreflect.FieldDescriptor) bool { return !outputOnly(f) }

// schema is a JSON Schema.
type schema map[string]any

// taskSchema is the schema of a task in a file.
func taskSchema() schema {
	defs := schema{}
	root := messageSchema((&v1.Task{}).ProtoReflect().Descriptor(), defs)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "A task for raft-node submit --file"
	root["$defs"] = defs
	return root
}

// messageSchema describes a message, and those within it in defs.
func messageSchema(md protoreflect.MessageDescriptor, defs schema) schema {
	properties := schema{}
	for i := range md.Fields().Len() {
		if f := md.Fields().Get(i); !outputOnly(f) {
			s := fieldSchema(f, defs)
			s["description"] = commentOf(f)
			properties[f.JSONName()] = s
		}
	}
	out := schema{"type": "object", "properties": properties, "additionalProperties": false}
	for i := range md.Oneofs().Len() {
		o := md.Oneofs().Get(i)
		if o.IsSynthetic() {
			continue
		}
		var choices []schema
		for j := range o.Fields().Len() {
			choices = append(choices, schema{"required": []string{o.Fields().Get(j).JSONName()}})
		}
		out["oneOf"] = choices
	}
	return out
}

func fieldSchema(f protoreflect.FieldDescriptor, defs schema) schema {
	rules, _ := proto.GetExtension(f.Options(), validate.E_Field).(*validate.FieldRules)
	switch {
	case f.IsMap():
		out := schema{"type": "object", "additionalProperties": valueSchema(f.MapValue(), rules.GetMap().GetValues(), defs)}
		if keys := rules.GetMap().GetKeys(); keys != nil {
			out["propertyNames"] = valueSchema(f.MapKey(), keys, defs)
		}
		if rules.GetMap().HasMaxPairs() {
			out["maxProperties"] = rules.GetMap().GetMaxPairs()
		}
		return out
	case f.IsList():
		r := rules.GetRepeated()
		out := schema{"type": "array", "items": valueSchema(f, r.GetItems(), defs)}
		if r.HasMinItems() {
			out["minItems"] = r.GetMinItems()
		}
		if r.HasMaxItems() {
			out["maxItems"] = r.GetMaxItems()
		}
		if r.GetUnique() {
			out["uniqueItems"] = true
		}
		return out
	}
	return valueSchema(f, rules, defs)
}

// valueSchema describes a value of a field, or one of its items. Lengths are of bytes in
// the contract and of characters here, so that what fits there fits here.
func valueSchema(f protoreflect.FieldDescriptor, rules *validate.FieldRules, defs schema) schema {
	switch f.Kind() {
	case protoreflect.StringKind:
		return stringSchema(rules.GetString())
	case protoreflect.BoolKind:
		return schema{"type": "boolean"}
	case protoreflect.Int32Kind:
		out := schema{"type": "integer"}
		if r := rules.GetInt32(); r != nil {
			out["minimum"], out["maximum"] = r.GetGte(), r.GetLte()
		}
		return out
	case protoreflect.Int64Kind:
		out := schema{"type": "integer"}
		if r := rules.GetInt64(); r != nil {
			out["minimum"], out["maximum"] = r.GetGte(), r.GetLte()
		}
		if strings.HasSuffix(string(f.Name()), "_bytes") {
			return schema{"anyOf": []schema{out, {"type": "string", "pattern": `^[0-9]+(\.[0-9]+)? ?([KMGTPkmgtp][Ii]?[Bb]?|[Bb])?$`}}}
		}
		return out
	case protoreflect.DoubleKind:
		r := rules.GetDouble()
		return schema{"type": "number", "minimum": r.GetGte(), "maximum": r.GetLte()}
	case protoreflect.EnumKind:
		var names []string
		for i := range f.Enum().Values().Len() {
			if v := f.Enum().Values().Get(i); v.Number() != 0 {
				names = append(names, shortEnum(v), string(v.Name()))
			}
		}
		return schema{"enum": names}
	case protoreflect.MessageKind:
		return messageRef(f.Message(), defs)
	}
	return schema{} // bytes: any value, which is sent as JSON
}

func stringSchema(r *validate.StringRules) schema {
	out := schema{"type": "string"}
	if r.HasPattern() {
		out["pattern"] = r.GetPattern()
	}
	if r.HasMaxBytes() {
		out["maxLength"] = r.GetMaxBytes()
	}
	if r.GetMinBytes() > 0 {
		out["minLength"] = 1
	}
	return out
}

func messageRef(md protoreflect.MessageDescriptor, defs schema) schema {
	switch md.FullName() {
	case "google.protobuf.Duration":
		return schema{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
	case "google.protobuf.Timestamp":
		return schema{"type": "string", "format": "date-time"}
	}
	name := string(md.Name())
	if defs[name] == nil {
		defs[name] = schema{} // it may hold itself
		defs[name] = messageSchema(md, defs)
	}
	return schema{"$ref": "#/$defs/" + name}
}
