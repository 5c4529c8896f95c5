// Package tasklog holds the end of what an attempt has printed: at the worker, which
// sends it, and at the leader, which hands it to readers.
package tasklog

import (
	"strings"
	"sync"
	"unicode/utf8"
)

// MaxBytes is how much of a log is held, by the contract.
const MaxBytes = 64 << 10

// Log is the end of an append-only text. Offsets count its bytes from the first that
// was ever appended. It is safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	buf   []byte // a ring once it is full; it grows as needed, since most logs are short
	next  int    // where the next byte goes in a full ring
	start int64  // offset of the oldest byte that is held
	end   int64  // offset of the next byte
	// appended is called after each change, outside of the lock.
	appended func()
}

// New returns an empty log. appended, if not nil, is called after each addition; it
// must not wait for anything.
func New(appended func()) *Log { return &Log{appended: appended} }

// Append adds text, which must be whole characters of UTF-8.
func (l *Log) Append(text []byte) {
	if len(text) == 0 {
		return
	}
	l.mu.Lock()
	l.end += int64(len(text))
	l.push(text)
	l.start = l.end - int64(len(l.buf))
	l.mu.Unlock()
	if l.appended != nil {
		l.appended()
	}
}

func (l *Log) push(p []byte) {
	p = p[max(0, len(p)-MaxBytes):]
	n := min(MaxBytes-len(l.buf), len(p))
	l.buf = append(l.buf, p[:n]...)
	for p = p[n:]; len(p) > 0; p = p[n:] {
		n = copy(l.buf[l.next:], p)
		l.next = (l.next + n) % len(l.buf)
	}
}

// Skip moves the end on to an offset beyond it: what lies between is not known, and
// what came before is let go.
func (l *Log) Skip(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset > l.end {
		l.buf, l.next, l.start, l.end = nil, 0, offset, offset
	}
}

// Clear lets go of all that is held and returns how many bytes it was.
func (l *Log) Clear() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.buf)
	l.buf, l.next, l.start = nil, 0, l.end
	return n
}

// Bounds returns the offsets of the oldest byte that is held and of the next one.
func (l *Log) Bounds() (start, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start, l.end
}

// Size is how many bytes are held.
func (l *Log) Size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buf)
}

// Read returns at most limit bytes from an offset on, in whole characters, and where
// they begin: later than offset if what lies between is not held any more.
func (l *Log) Read(offset int64, limit int) (text string, at int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at = min(max(offset, l.start), l.end)
	b := l.from(at)
	whole := TrimToRune(b)
	at += int64(len(b) - len(whole))
	b = whole
	if len(b) > limit {
		b = cutToRune(b[:limit])
	}
	return string(b), at
}

// from copies what is held from an offset on. mu is held.
func (l *Log) from(offset int64) []byte {
	skip := int(offset - l.start)
	out := make([]byte, 0, len(l.buf)-skip)
	if older := l.buf[l.next:]; skip < len(older) {
		out = append(out, older[skip:]...)
		skip = 0
	} else {
		skip -= len(older)
	}
	return append(out, l.buf[:l.next][skip:]...)
}

// Tail is what is kept of the log with its attempt, and where it begins. If it lost
// its beginning it starts with a whole line, unless that would leave out more than half.
func (l *Log) Tail() (text string, at int64) {
	text, at = l.Read(0, MaxBytes)
	if at == 0 {
		return text, 0
	}
	if i := strings.IndexByte(text, '\n'); i >= 0 && i < len(text)/2 {
		return text[i+1:], at + int64(i) + 1
	}
	return text, at
}

// TrimToRune leaves out the rest of a character whose beginning was cut off.
func TrimToRune[T ~string | ~[]byte](b T) T {
	for i := range min(utf8.UTFMax, len(b)) {
		if utf8.RuneStart(b[i]) {
			return b[i:]
		}
	}
	return b
}

// cutToRune leaves out the beginning of a character whose rest was cut off.
func cutToRune(b []byte) []byte { return b[:len(b)-incomplete(b)] }

// incomplete is how many bytes at the end of b begin a character that is not whole.
func incomplete(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if rest := b[len(b)-n:]; utf8.RuneStart(rest[0]) {
			if utf8.FullRune(rest) {
				return 0
			}
			return n
		}
	}
	return 0
}
