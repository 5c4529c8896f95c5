package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/timestamppb"
)

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
