package tasklog

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzLog compares a log with the plain text of all that was written, whatever the pieces
// in which it came and the places from which it is read.
func FuzzLog(f *testing.F) {
	f.Add([]byte("hello\nworld"), 3, 70_000, int64(5), 100)
	f.Add([]byte("€\xff\n"), 1, 65_537, int64(0), 7)
	f.Add([]byte("\xf0\x9f\x98\x80"), 2, 200_000, int64(131_075), 65_536)
	f.Fuzz(func(t *testing.T, data []byte, chunk, total int, offset int64, limit int) {
		if len(data) == 0 || chunk <= 0 || total <= 0 || total > 1<<18 || total/chunk > 1<<16 || offset < 0 || limit < 4 {
			t.Skip()
		}
		raw := bytes.Repeat(data, total/len(data)+1)[:total]
		var whole strings.Builder // what a reader that misses nothing sees
		log := New(nil)
		w := log.Writer()
		follow := func() {
			text, at := log.Read(int64(whole.Len()), MaxBytes)
			if at != int64(whole.Len()) {
				t.Fatalf("%d bytes were dropped although each piece is read", at-int64(whole.Len()))
			}
			whole.WriteString(text)
		}
		for p := raw; len(p) > 0; {
			n := min(chunk, len(p), MaxBytes/4) // what is not UTF-8 gets longer
			if _, err := w.Write(p[:n]); err != nil {
				t.Fatal(err)
			}
			p = p[n:]
			follow()
		}
		_ = w.Close()
		follow()
		all := whole.String()
		if utf8.Valid(raw) && all != string(raw) || !utf8.ValidString(all) {
			t.Fatalf("%d bytes became %d bytes of text", len(raw), len(all))
		}
		start, end := log.Bounds()
		if end != int64(len(all)) || start != max(0, end-MaxBytes) {
			t.Fatalf("the log has %d to %d of %d", start, end, len(all))
		}
		text, at := log.Read(offset, limit)
		if !utf8.ValidString(text) || len(text) > limit || at > end || at < min(offset, end) || all[at:at+int64(len(text))] != text {
			t.Fatalf("read from %d: %d bytes at %d", offset, len(text), at)
		}
		if tail, at := log.Tail(); all[at:] != tail || len(tail) > MaxBytes || int64(len(tail)) < min(end, MaxBytes/2-utf8.UTFMax) {
			t.Fatalf("a tail of %d bytes at %d", len(tail), at)
		}
	})
}

func TestSkipLetsGoOfWhatWasBefore(t *testing.T) {
	log := New(nil)
	log.Append([]byte("before"))
	log.Skip(100)
	log.Append([]byte("after"))
	if text, at := log.Read(0, MaxBytes); text != "after" || at != 100 {
		t.Errorf("%q at %d", text, at)
	}
	log.Skip(50) // is behind the end: changes nothing
	if start, end := log.Bounds(); start != 100 || end != 105 {
		t.Errorf("%d to %d", start, end)
	}
}
