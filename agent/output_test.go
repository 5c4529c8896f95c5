package agent

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/raft-control-plane/control-plane"
)

const maxTail = controlplane.MaxLogTailBytes

func TestLogTail(t *testing.T) {
	line := strings.Repeat("a", 99) + "\n"
	tests := []struct {
		name   string
		writes []string
		want   string
	}{
		{"nothing", nil, ""},
		{"little", []string{"a\n", "b"}, "a\nb"},
		{"NUL", []string{"a\x00b"}, "a\x00b"},
		{"exactly full", []string{strings.Repeat("x", maxTail)}, strings.Repeat("x", maxTail)},
		{"cut at a line", []string{"first\n" + strings.Repeat(line, 700)}, strings.Repeat(line, maxTail/100)},
		{"one long line", []string{strings.Repeat("x", maxTail), "y"}, strings.Repeat("x", maxTail-1) + "y"},
		{"cut between characters", []string{strings.Repeat("€", maxTail/3) + "ab"}, strings.Repeat("€", (maxTail-2)/3) + "ab"},
		{"invalid bytes grow", []string{strings.Repeat("a\xff", maxTail/2)}, strings.Repeat("a\uFFFD", maxTail/4)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o output
			for _, w := range tt.writes {
				o.stdout([]byte(w))
			}
			if got := o.logTail(); got != tt.want {
				t.Errorf("got %d bytes %.40q…, want %d bytes %.40q…", len(got), got, len(tt.want), tt.want)
			}
		})
	}
}

// FuzzLogTail compares the ring with the plain end of all that was written.
func FuzzLogTail(f *testing.F) {
	f.Add([]byte("hello\nworld"), 3, 70_000)
	f.Add([]byte("€\xff\n"), 1, 65_537)
	f.Fuzz(func(t *testing.T, data []byte, chunk, total int) {
		if len(data) == 0 || chunk <= 0 || total <= 0 || total > 1<<18 || total/chunk > 1<<17 {
			t.Skip()
		}
		all := bytes.Repeat(data, total/len(data)+1)[:total]
		var ring tail
		for p := all; len(p) > 0; p = p[min(chunk, len(p)):] {
			ring.write(p[:min(chunk, len(p))])
		}
		raw := append(bytes.Clone(ring.buf[ring.next:]), ring.buf[:ring.next]...)
		if want := all[max(0, total-maxTail):]; !bytes.Equal(raw, want) {
			t.Fatalf("the ring has %d bytes, want the last %d", len(raw), len(want))
		}
		if s := ring.text(); !utf8.ValidString(s) || len(s) > maxTail || !strings.HasSuffix(strings.ToValidUTF8(string(all), "\uFFFD"), s) && utf8.Valid(all) {
			t.Fatalf("text of %d bytes", len(s))
		}
	})
}

func TestResult(t *testing.T) {
	big := `"` + strings.Repeat("x", controlplane.MaxPayloadBytes-2) + `"`
	tests := []struct{ name, out, want string }{
		{"nothing", "", ""},
		{"object", "log\n{\"a\": 1}\n", `{"a": 1}`},
		{"without newline", "log\n[1]", "[1]"},
		{"blank lines after it", "[1]\n\n  \r\n", "[1]"},
		{"carriage return", "[1]\r\n", "[1]"},
		{"no JSON", "[1]\ndone\n", ""},
		{"as large as may be", big, big},
		{"too large", big + " \n" + big + "x\n", ""},
		{"one byte too large", " \n" + `"` + big[1:len(big)-1] + `x"`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o output
			for p := []byte(tt.out); len(p) > 0; p = p[min(7777, len(p)):] {
				o.stderr([]byte("{}\n"))
				o.stdout(p[:min(7777, len(p))])
			}
			if got := string(o.result()); got != tt.want {
				t.Errorf("got %d bytes %.40q…, want %d bytes", len(got), got, len(tt.want))
			}
		})
	}
}
