package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// keyTaker stores tasks submitted in batches, and notes id and key of each.
func keyTaker(t *testing.T, before func(call int) error) (*member, *[]string) {
	t.Helper()
	var got []string
	calls := 0
	m := &member{submitMany: func(r *v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error) {
		calls++
		if err := before(calls); err != nil {
			return nil, err
		}
		res := &v1.SubmitTasksResponse{}
		for i, s := range r.GetRequests() {
			got = append(got, strings.Trim(s.GetTask().GetId()+" "+s.GetRequestId(), " "))
			res.Outcomes = append(res.Outcomes, &v1.SubmitTaskOutcome{Outcome: &v1.SubmitTaskOutcome_TaskId{TaskId: fmt.Sprintf("t%d-%d", calls, i)}})
		}
		return res, nil
	}}
	return m.start(t), &got
}

func always(int) error { return nil }

// What is submitted again has the key that it had, also in a larger array or file.
func TestKeysOfManyTasks(t *testing.T) {
	m, got := keyTaker(t, always)
	file := "exec: {command: [a]}\n---\nid: mine\nexec: {command: [b]}\n---\nexec: {command: [c]}\n"
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"submit", "--request-id", "k", "--array", "0-9:3", "x"}, "k/0,k/3,k/6,k/9"},
		{[]string{"submit", "--request-id", "k", "--array", "9,1-3", "x"}, "k/9,k/1,k/2,k/3"},
		{[]string{"submit", "--request-id", "k", "--file", "-"}, "k/0,mine,k/2"},
	} {
		*got = nil
		cliWith(t.Context(), file, append([]string{"--server", m.url}, tc.args...)...).expect(t, 0, nil, nil)
		if keys := strings.Join(*got, ","); keys != tc.want {
			t.Errorf("%v: keys %s, want %s", tc.args, keys, tc.want)
		}
	}
}

func TestInterruptedSubmissionSaysHowToGoOn(t *testing.T) {
	for name, args := range map[string][]string{
		"submit":      {"submit", "--array", "0-2499", "--request-id", "k", "--", "true"},
		"submit wait": {"submit", "--wait", "--array", "0-2499", "--request-id", "k", "--", "true"},
		"map":         {"map", "--request-id", "k", "--", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			m, _ := keyTaker(t, func(call int) error {
				if call == 2 {
					cancel()
					return refusal(connect.CodeUnavailable, "the command is gone")
				}
				return nil
			})
			r := cliWith(ctx, strings.Repeat("line\n", 2500), append([]string{"--server", m.url}, args...)...)
			r.expect(t, exitInterrupted, nil, []string{
				"interrupted while submitting, 1000 of 2500 tasks are known to be submitted: the same command with --request-id k goes on, and submits none twice",
				"'raft-node task cancel --label array=k' ends those that are"})
			if shown := strings.Count(r.out, "\n"); name == "submit" && shown != 1000 {
				t.Errorf("%d ids are printed, want those of the 1000 tasks that are known", shown)
			}
		})
	}
}

// A repeat of what is malformed is refused as well, so none is advised.
func TestMalformedTasksAreNamedByTheirPlace(t *testing.T) {
	m, _ := keyTaker(t, func(call int) error {
		if call == 1 {
			return nil
		}
		return refusal(connect.CodeInvalidArgument, "requests[0].task.name: is too long; requests[3].task: is missing; and 7 more")
	})
	r := m.at(t, "submit", "--array", "0-1999", "--request-id", "k", "--", "true")
	r.expect(t, 1, nil, []string{"raft-node: index 1000: name: is too long; index 1003: is missing; and 7 more\n1000 of 2000 tasks were submitted before\n"})
	if strings.Contains(r.err, "--request-id") {
		t.Errorf("a repeat is advised: %s", r.err)
	}
	m, _ = keyTaker(t, func(int) error { return refusal(connect.CodeInvalidArgument, "requests[1].task.name: is too long") })
	m.at(t, "submit", "--array", "0-1", "--", "true").expect(t, 1, nil, []string{"index 1: name: is too long\nnothing was submitted\n"})
}

func TestTextThatIsNoUTF8IsFoundBeforeItIsSubmitted(t *testing.T) {
	m, got := keyTaker(t, always)
	r := cliWith(t.Context(), "a\n\n\xff\nb\n", "--server", m.url, "map", "--", "echo")
	r.expect(t, exitUsage, nil, []string{"line 3 is no valid UTF-8, nothing was submitted"})
	m.at(t, "submit", "--array", "0-1", "--", "echo", "\xff").expect(t, exitUsage, nil, []string{"word 2 of the command is no valid UTF-8"})
	if len(*got) > 0 {
		t.Errorf("%d tasks were submitted", len(*got))
	}
}
