package agent

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/raft-control-plane/control-plane"
)

// output keeps the end of what a process writes. It is safe for concurrent use:
// standard output and standard error arrive at the same time.
type output struct {
	mu   sync.Mutex
	tail tail
	line lastLine
}

// stdout takes what the process wrote to its standard output.
func (o *output) stdout(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail.write(p)
	o.line.write(p)
}

// stderr takes what it wrote to its standard error.
func (o *output) stderr(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail.write(p)
}

// logTail is the end of the output in valid UTF-8, at most
// controlplane.MaxLogTailBytes.
func (o *output) logTail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tail.text()
}

// result is the last line of standard output if it is JSON, at most
// controlplane.MaxPayloadBytes; else nil.
func (o *output) result() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	line := o.line.get()
	if len(line) == 0 || len(line) > controlplane.MaxPayloadBytes || !json.Valid(line) {
		return nil
	}
	return bytes.Clone(line)
}

// tail is a ring of the last MaxLogTailBytes. It grows as needed, since most
// processes write little.
type tail struct {
	buf  []byte
	next int  // where the next byte goes, once the ring is full
	cut  bool // bytes were overwritten
}

func (t *tail) write(p []byte) {
	if over := len(p) - controlplane.MaxLogTailBytes; over > 0 {
		p, t.cut = p[over:], true
	}
	room := controlplane.MaxLogTailBytes - len(t.buf)
	n := min(room, len(p))
	t.buf = append(t.buf, p[:n]...)
	for p = p[n:]; len(p) > 0; p = p[n:] {
		t.cut = true
		n = copy(t.buf[t.next:], p)
		t.next = (t.next + n) % len(t.buf)
	}
}

// text is the ring's content as text. What is not UTF-8 becomes U+FFFD. A text
// that lost its beginning starts with a whole line, unless that would leave out
// more than half.
func (t *tail) text() string {
	b := append(bytes.Clone(t.buf[t.next:]), t.buf[:t.next]...)
	if t.cut {
		b = trimToLine(trimToRune(b))
	}
	s := strings.ToValidUTF8(string(b), string(utf8.RuneError))
	if over := len(s) - controlplane.MaxLogTailBytes; over > 0 { // U+FFFD is longer than a byte
		s = string(trimToLine(trimToRune([]byte(s[over:]))))
	}
	return s
}

// trimToRune leaves out the rest of a character that was cut in two.
func trimToRune(b []byte) []byte {
	for i := range min(utf8.UTFMax, len(b)) {
		if utf8.RuneStart(b[i]) {
			return b[i:]
		}
	}
	return b
}

func trimToLine(b []byte) []byte {
	if i := bytes.IndexByte(b, '\n'); i >= 0 && i < len(b)/2 {
		return b[i+1:]
	}
	return b
}

// lastLine keeps the last line that is not blank, up to one byte more than a
// result may have: a longer line is no result.
type lastLine struct {
	last, present []byte
}

func (l *lastLine) write(p []byte) {
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.add(p)
			return
		}
		l.add(p[:i])
		l.end()
		p = p[i+1:]
	}
}

func (l *lastLine) add(p []byte) {
	room := controlplane.MaxPayloadBytes + 1 - len(l.present)
	l.present = append(l.present, p[:min(room, len(p))]...)
}

func (l *lastLine) end() {
	if len(bytes.TrimSpace(l.present)) > 0 {
		l.last, l.present = l.present, l.last
	}
	l.present = l.present[:0]
}

func (l *lastLine) get() []byte {
	if line := bytes.TrimSpace(l.present); len(line) > 0 {
		return line
	}
	return bytes.TrimSpace(l.last)
}
