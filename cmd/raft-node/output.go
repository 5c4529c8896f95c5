package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What --output may be. The first two are for people, the others for programs.
const (
	formatTable = "table"
	formatWide  = "wide" // with columns more
	formatJSON  = "json" // the answer of the API
	formatLines = "jsonl"
	formatYAML  = "yaml"
	formatName  = "name" // names only, for other commands to take
)

var formats = []string{formatTable, formatWide, formatJSON, formatLines, formatYAML, formatName}

// formatsKey is the annotation of a command that does not print resources with
// names: the formats that it has.
const formatsKey = "raft-node/formats"

// nameless are the formats of such commands.
const nameless = "table json jsonl yaml"

// limitFormats says that a command has these formats only.
func limitFormats(cmd *cobra.Command, words string) *cobra.Command {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[formatsKey] = words
	return cmd
}

func formatsOf(cmd *cobra.Command) []string {
	if words, ok := cmd.Annotations[formatsKey]; ok {
		return strings.Fields(words)
	}
	return formats
}

// refuseFormat refuses a format that a command does not have, before it changes
// anything.
func refuseFormat(cmd *cobra.Command) error {
	given := cmd.Flag("output")
	if given == nil || slices.Contains(formatsOf(cmd), given.Value.String()) {
		return nil
	}
	return usageErrorf("-o %s: is no format of '%s': give %s", given.Value, cmd.CommandPath(), strings.Join(formatsOf(cmd), ", "))
}

func completeFormat(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return formatsOf(cmd), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) format() string { return a.v.GetString("output") }

// wide reports whether people have asked for more columns.
func (a *app) wide() bool { return a.format() == formatWide }

// forPrograms reports whether the output is not for people.
func (a *app) forPrograms() bool {
	return !slices.Contains([]string{formatTable, formatWide, "csv"}, a.format())
}

// print writes a response as --output says; table is for people.
func (a *app) print(m proto.Message, table func(w io.Writer)) error {
	switch a.format() {
	case formatJSON:
		return a.printJSON(m)
	case formatLines:
		return a.printLines(itemsOf(m))
	case formatYAML:
		return a.printYAML(m)
	case formatName:
		return a.printNames(itemsOf(m))
	}
	return a.printTable(table)
}

// say writes a response, to people as one line.
func (a *app) say(m proto.Message, format string, args ...any) error {
	if a.forPrograms() {
		return a.print(m, nil)
	}
	_, err := fmt.Fprintln(a.out, oneLine(fmt.Sprintf(format, args...)))
	return err
}

// printJSON writes a message as the API would, but with the fields that hold
// their default, so that programs need not guess what is missing.
func (a *app) printJSON(m proto.Message) error {
	text, err := compactJSON(m)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, b.String())
	return err
}

// printLines writes each message on a line of its own.
func (a *app) printLines(items []proto.Message) error {
	for _, m := range items {
		text, err := compactJSON(m)
		if err != nil {
			return err
		}
		if _, err = fmt.Fprintf(a.out, "%s\n", text); err != nil {
			return err
		}
	}
	return nil
}

// printYAML writes a message with the fields of its JSON, in their order.
func (a *app) printYAML(m proto.Message) error {
	text, err := compactJSON(m)
	if err != nil {
		return err
	}
	return writeYAML(a.out, text)
}

// writeYAML writes JSON, which is YAML already, as people write it: in blocks.
func writeYAML(w io.Writer, text []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return err
	}
	plain(&doc)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return err
	}
	return e.Close()
}

// plain takes the brackets and the quotes away; those that a text needs to be a
// text come back by its tag.
func plain(n *yaml.Node) {
	if empty := len(n.Content) == 0; n.Kind == yaml.ScalarNode || !empty {
		n.Style = 0
	}
	for _, c := range n.Content {
		plain(c)
	}
}

// printNames writes the name of each message that has one.
func (a *app) printNames(items []proto.Message) error {
	for _, m := range items {
		if name := nameOf(m); name != "" {
			if _, err := fmt.Fprintln(a.out, oneLine(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// printValue writes what is no message of the API.
func (a *app) printValue(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	switch a.format() {
	case formatYAML:
		return writeYAML(a.out, text)
	case formatLines:
		text, err = json.Marshal(v)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", text)
	return err
}

// compactJSON takes out the spaces that protojson puts in at random.
func compactJSON(m proto.Message) ([]byte, error) {
	text, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Compact(&b, text)
	return b.Bytes(), err
}

// itemsOf are the resources that a response holds: those of its list, or the one
// that it wraps; the response itself if it is of neither kind.
func itemsOf(m proto.Message) []proto.Message {
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	if nameOf(m) != "" {
		return []proto.Message{m}
	}
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.Kind() != protoreflect.MessageKind || f.IsMap():
		case f.IsList():
			list := r.Get(f).List()
			items := make([]proto.Message, list.Len())
			for i := range items {
				items[i] = list.Get(i).Message().Interface()
			}
			return items
		case r.Has(f) && nameOf(r.Get(f).Message().Interface()) != "":
			return []proto.Message{r.Get(f).Message().Interface()}
		}
	}
	return []proto.Message{m}
}

// nameOf is what other commands call a resource by; "" if it has no name.
func nameOf(m proto.Message) string {
	r := m.ProtoReflect()
	for _, key := range []protoreflect.Name{"id", "task_id", "node_id", "name"} {
		if f := r.Descriptor().Fields().ByName(key); f != nil && f.Kind() == protoreflect.StringKind && !f.IsList() && r.Get(f).String() != "" {
			return r.Get(f).String()
		}
	}
	return ""
}
