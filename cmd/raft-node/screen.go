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

const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[2J" // the alternate screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	clearToEnd  = "\x1b[J"
	clearRest   = "\x1b[K"
)

// Size of a terminal that does not tell.
const (
	screenWidth  = 80
	screenHeight = 24
)

// screen is a terminal on which one picture replaces the other. What stood there
// before comes back at its end, with the last picture below it.
type screen struct {
	out  io.Writer
	last []byte
	// size is the number of columns and lines; a test sets it.
	size func() (width, height int)
}

func newScreen(out io.Writer) *screen {
	fmt.Fprint(out, enterScreen)
	return &screen{out: out, size: func() (int, int) {
		if f, ok := out.(*os.File); ok {
			if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
				return w, h
			}
		}
		return screenWidth, screenHeight
	}}
}

// draw shows a picture, as much of it as there is room for.
func (s *screen) draw(picture []byte) {
	s.last = picture
	width, height := s.size()
	lines := strings.Split(strings.TrimSuffix(string(picture), "\n"), "\n")
	if len(lines) > height {
		left := len(lines) - height + 1
		lines = append(lines[:height-1], fmt.Sprintf("… %d lines more", left))
	}
	var b bytes.Buffer
	b.WriteString(screenHome)
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n") // the terminal may be in raw mode
		}
		b.WriteString(clipped(line, width) + clearRest)
	}
	b.WriteString(clearToEnd)
	_, _ = s.out.Write(b.Bytes())
}

func (s *screen) close() {
	fmt.Fprint(s.out, leaveScreen)
	_, _ = s.out.Write(s.last)
}

// clipped cuts a line to so many characters, of which escape sequences are none.
func clipped(line string, width int) string {
	var b strings.Builder
	shown, colours := 0, false
	for len(line) > 0 {
		if strings.HasPrefix(line, "\x1b[") {
			if end := strings.IndexByte(line, 'm'); end > 0 {
				b.WriteString(line[:end+1])
				line, colours = line[end+1:], true
				continue
			}
		}
		_, size := utf8.DecodeRuneInString(line)
		if shown < width {
			b.WriteString(line[:size])
		}
		shown++
		line = line[size:]
	}
	if colours {
		b.WriteString(reset)
	}
	return b.String()
}
