package agent

import (
	"syscall"
	"testing"
)

func TestParseProc(t *testing.T) {
	tests := []struct {
		stat string
		want proc
		ok   bool
	}{
		{"7 (sh) S 1 7 7 0 -1", proc{pid: 7, parent: 1, group: 7}, true},
		{"7 (a) b (c)) Z 12 9 7 0", proc{pid: 7, parent: 12, group: 9, zombie: true}, true},
		{"7 (sh", proc{}, false},
		{"7 (sh) S", proc{}, false},
	}
	for _, tt := range tests {
		if got, ok := parseProc(7, []byte(tt.stat)); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q: got %+v, %v", tt.stat, got, ok)
		}
	}
}

// Somebody kills the supervisor while the agent cannot act: the kernel kills the
// command.
func TestKilledSupervisorOfStoppedAgent(t *testing.T) {
	p := newPlane(t)
	agent := agentProcess(t, p)
	f := newFIFO(t)
	p.give(shell("t", 1, f, `echo $PPID >&9; exec sleep 1000`))
	pid := receive(t, "the supervisor's id", f.lines)
	if err := agent.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	kill9(t, pid)
	f.expectEnd(t)
}
