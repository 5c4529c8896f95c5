package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// print writes a response: as JSON if asked to, else by table.
func (a *app) print(m proto.Message, table func(w io.Writer)) error {
	if a.json() {
		return a.printJSON(m)
	}
	return a.printTable(table)
}

// say writes a response: as JSON if asked to, else as one line.
func (a *app) say(m proto.Message, format string, args ...any) error {
	if a.json() {
		return a.printJSON(m)
	}
	_, err := fmt.Fprintln(a.out, oneLine(fmt.Sprintf(format, args...)))
	return err
}

func (a *app) json() bool { return a.v.GetString("output") == "json" }

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

// printJSONLine writes a message on one line.
func (a *app) printJSONLine(m proto.Message) error {
	text, err := compactJSON(m)
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

// printTable aligns what table writes: cells end with a tab, rows with a newline.
func (a *app) printTable(table func(w io.Writer)) error {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	table(w)
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(a.out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// row writes the cells of one row.
func row(w io.Writer, cells ...string) {
	for i, c := range cells {
		cells[i] = oneLine(c)
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// field writes a line of a block, unless there is nothing to say.
func field(w io.Writer, name, value string) {
	if value != "" {
		fmt.Fprintf(w, "%s:\t%s\n", name, oneLine(value))
	}
}

// oneLine makes text from elsewhere safe for a terminal and for a cell.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unprintable(r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// multiline makes text from elsewhere safe for a terminal.
func multiline(s string) string {
	return strings.Map(func(r rune) rune {
		if unprintable(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// unprintable characters steer the terminal, or turn the direction of what
// follows.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

// short cuts text to so many characters.
func short(s string, limit int) string {
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// pairs writes k=v, by key.
func pairs(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ", ")
}

// ago is a time as distance from now.
func ago(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return distance(time.Since(t.AsTime()))
}

func distance(d time.Duration) string {
	if d < 0 {
		return "in " + coarse(-d)
	}
	return coarse(d) + " ago"
}

// coarse is a duration in its largest unit.
func coarse(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// when is a time for a block: exact, and as distance.
func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s)", t.AsTime().Format(time.RFC3339), ago(t))
}

// enum is the name of an enum's value without its prefix.
func enum(v fmt.Stringer, prefix string) string { return strings.TrimPrefix(v.String(), prefix) }
