package agent

import (
	"strings"
	"testing"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/internal/tasklog"
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
			log := tasklog.New(nil)
			o := newOutput(log, nil)
			for _, w := range tt.writes {
				o.stdout([]byte(w))
			}
			o.close()
			if got, _ := log.Tail(); got != tt.want {
				t.Errorf("got %d bytes %.40q…, want %d bytes %.40q…", len(got), got, len(tt.want), tt.want)
			}
		})
	}
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
			o := newOutput(tasklog.New(nil), nil)
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
