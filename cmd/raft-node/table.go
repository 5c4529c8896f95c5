package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// columnGap is the least space between two columns.
const columnGap = 2

// printTable aligns what table writes, in which a tab ends a cell, and colours it
// where that can be seen.
func (a *app) printTable(table func(w io.Writer)) error {
	_, err := a.out.Write(renderTable(table, a.colours(a.out)))
	return err
}

func renderTable(table func(w io.Writer), colours bool) []byte {
	var written, out bytes.Buffer
	table(&written)
	var block [][]string
	flush := func() {
		alignBlock(&out, block, colours)
		block = nil
	}
	for line := range strings.Lines(written.String()) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(cells) == 1 { // an empty line, or one of text, parts blocks
			flush()
			fmt.Fprintln(&out, strings.TrimRight(cells[0], " "))
			continue
		}
		block = append(block, cells)
	}
	flush()
	return out.Bytes()
}

// alignBlock writes rows that stand below each other. The last cell of a row may be
// of any width.
func alignBlock(out *bytes.Buffer, rows [][]string, colours bool) {
	var widths []int
	for _, cells := range rows {
		for i, c := range cells[:len(cells)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for i, cells := range rows {
		var line strings.Builder
		for j, c := range cells {
			text := c
			if colours {
				text = coloured(rows[0], i, j, cells)
			}
			line.WriteString(text)
			if j < len(cells)-1 {
				line.WriteString(strings.Repeat(" ", widths[j]-utf8.RuneCountInString(c)+columnGap))
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
}

// Colours of the terminal's own palette, so that they fit its background.
const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	reset  = "\x1b[0m"
)

// statusColours are those of the words that a status begins with.
var statusColours = map[string]string{
	"COMPLETED": green, "HEALTHY": green, "open": green, "equal": green, "LEADER": green,
	"RUNNING": cyan, "ASSIGNED": cyan,
	"PENDING": yellow, "UNKNOWN": yellow, "paused": yellow, "NON_VOTER": yellow,
	"FAILED": red, "UNHEALTHY": red, "differs": red, "no answer": red,
	"CANCELLED": dim,
}

// coloured is a cell of a table whose first row is its head, or of a block of fields.
// Only what stands in the place of a status is coloured: a task may be named FAILED.
func coloured(head []string, row, column int, cells []string) string {
	c := cells[column]
	isField := strings.HasSuffix(cells[0], ":")
	switch {
	case isField && column == 0, !isField && row == 0:
		return bold + c + reset
	case isField && (cells[0] == "Status:" || cells[0] == "State:"), !isField && column < len(head) && isStatusHead(head[column]):
		for word, colour := range statusColours {
			if strings.HasPrefix(c, word) {
				return colour + c + reset
			}
		}
	}
	return c
}

func isStatusHead(head string) bool { return head == "STATUS" || head == "RESULT" || head == "ROLE" }

// colours reports whether what is written to w may be coloured: w is a terminal, and
// the user has not said otherwise (no-color.org).
func (a *app) colours(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
