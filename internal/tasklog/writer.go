package tasklog

import (
	"bytes"
	"slices"
	"sync"
	"unicode/utf8"
)

// Writer makes text of a stream of bytes and appends it to a log. Each stream needs one
// of its own, since a character may arrive in pieces. It is safe for concurrent use.
type Writer struct {
	log   *Log
	mu    sync.Mutex
	carry []byte // the beginning of a character
}

// Writer returns a writer to the log.
func (l *Log) Writer() *Writer { return &Writer{log: l} }

// replacement stands for what is not UTF-8.
var replacement = []byte(string(utf8.RuneError))

// Write implements io.Writer. It fails never and waits for nothing.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := p
	if len(w.carry) > 0 {
		b = slices.Concat(w.carry, p)
	}
	n := incomplete(b)
	w.log.Append(bytes.ToValidUTF8(b[:len(b)-n], replacement))
	w.carry = append([]byte(nil), b[len(b)-n:]...)
	return len(p), nil
}

// Close appends what is left of a character that did not become whole.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.carry) > 0 {
		w.log.Append(replacement)
		w.carry = nil
	}
	return nil
}
