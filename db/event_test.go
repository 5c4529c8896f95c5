package db

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/raft-control-plane/control-plane"
)

func TestCursorsAreReadAsTheyAreWritten(t *testing.T) {
	for _, c := range []EventCursor{{}, {1, 0}, {1, 1}, {math.MaxInt64, 1024}} {
		if got, err := ParseCursor(c.String()); err != nil || got != c {
			t.Errorf("%v: got %v, %v", c, got, err)
		}
	}
	if got, err := ParseCursor("0"); err != nil || got != (EventCursor{}) {
		t.Errorf("0: got %v, %v", got, err)
	}
}

func TestBadCursorsAreRefused(t *testing.T) {
	for _, s := range []string{"", "-", "-1", "1-", "-1-1", "x", "1-x", "1--2", "1-2-3", " 1-2", "1-2 ", "9223372036854775808-0", "1-99999999999999999999", "+1-2", "1-+2", "01-2", "5"} {
		_, err := ParseCursor(s)
		if controlplane.CodeOf(err) != controlplane.CodeInvalid || !strings.HasPrefix(err.Error(), "cursor: ") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// A journal is what event appends for each change, in brackets.
func TestJournalIsJSONThatReadsBack(t *testing.T) {
	cases := []struct {
		kind         byte
		seq          int64
		attempt      int32
		node, reason string
		text         string
		want         controlplane.TaskStatus
	}{
		{'S', 7, 0, "", "", `["S",7]`, controlplane.TaskPending},
		{'A', 1 << 53, 1, "n1", "", `["A",9007199254740992,1,"n1"]`, controlplane.TaskAssigned},
		{'Q', 7, 2, "n1", "lease_lost", `["Q",7,2,"n1","lease_lost"]`, controlplane.TaskPending},
		{'X', 7, 0, "", "why", `["X",7,0,"","why"]`, controlplane.TaskCancelled},
		{'K', 7, 3, "n.1_-", "", `["K",7,3,"n.1_-"]`, controlplane.TaskRunning},
		{'C', 7, 3, `a"b\c` + "\n\x00é", "", `["C",7,3,"a\"b\\c\n\u0000é"]`, controlplane.TaskCompleted},
		{'F', 7, 3, "", `"`, `["F",7,3,"","\""]`, controlplane.TaskFailed},
	}
	var journal []byte
	for _, c := range cases {
		if got := string(event(nil, c.kind, c.seq, c.attempt, c.node, c.reason)); got != c.text {
			t.Errorf("got %s, want %s", got, c.text)
		}
		journal = event(journal, c.kind, c.seq, c.attempt, c.node, c.reason)
	}
	var changes [][]any
	if err := json.Unmarshal([]byte("["+string(journal)+"]"), &changes); err != nil || len(changes) != len(cases) {
		t.Fatalf("%d changes, %v in [%s]", len(changes), err, journal)
	}
	for i, c := range cases {
		e := parseChange(changes[i])
		if e.Status != c.want || e.Seq != c.seq || e.Attempt != c.attempt || e.NodeID != c.node || e.Reason != c.reason {
			t.Errorf("%s reads as %+v", c.text, e)
		}
	}
}

func TestEveryStatusHasAKindThatNamesIt(t *testing.T) {
	for _, s := range []controlplane.TaskStatus{controlplane.TaskPending, controlplane.TaskAssigned, controlplane.TaskRunning,
		controlplane.TaskCompleted, controlplane.TaskFailed, controlplane.TaskCancelled} {
		if got := kinds[string(kindOf(s))].task; got != s {
			t.Errorf("%s is written as %c, which is read as %s", s, kindOf(s), got)
		}
	}
}
