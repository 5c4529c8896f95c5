package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func TestJobFile(t *testing.T) {
	a := &app{}
	jobs, err := a.readJobFile("testdata/jobs/sweep.yaml")
	if err != nil {
		t.Fatal(err)
	}
	jitter := 0.0
	want := []*v1.Task{{
		Name: "train", Queue: "gpu", Priority: 5, Labels: map[string]string{"team": "vision"},
		Work:      &v1.Task_Exec{Exec: &v1.ExecTask{Command: []string{"python3", "train.py", "--lr", "0.1"}, Env: map[string]string{"SEED": "7"}}},
		Resources: &v1.Resources{CpuMillis: 500, MemoryBytes: 16 << 30, Gpus: 1},
		Constraints: &v1.Constraints{Providers: []string{"aws", "gcp"}, Spot: v1.SpotUse_SPOT_USE_NEVER,
			Labels: []*v1.LabelSelector{{Key: "tier", Operator: v1.LabelOperator_LABEL_OPERATOR_IN, Values: []string{"a", "b"}}}},
		Timeout: durationpb.New(150 * time.Minute), MaxAttempts: 3, RetryPolicy: &v1.RetryPolicy{InitialBackoff: durationpb.New(10 * time.Second), Jitter: &jitter},
		EarliestStartTime: timestamppb.New(time.Date(2030, 1, 31, 6, 0, 0, 0, time.UTC)),
	}, {
		Id: "by-function", Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "resize", Payload: []byte(`{"file":"a.png","width":640}`)}},
	}}
	for i, w := range want {
		if i >= len(jobs) || !proto.Equal(jobs[i].task, w) {
			t.Errorf("task %d is not\n%v\nall: %v", i, w, jobs)
		}
	}
	if jobs[1].place != "testdata/jobs/sweep.yaml:23" {
		t.Errorf("the second task is at %s", jobs[1].place)
	}
}

func TestAliasesCannotGrowWithoutBound(t *testing.T) {
	text := "exec: {command: &a [x, x, x, x, x, x, x, x, x, x]}\n"
	all := "labels: {}\nconstraints: {providers: *a}\n" + strings.Repeat("---\nexec: {command: [a]}\n", 3)
	if _, wrong := parseJobs("f", []byte(text+all)); len(wrong) == 0 || strings.Contains(fmt.Sprint(wrong), "shorten it") {
		t.Errorf("an alias of few values: %v", wrong) // providers are unique
	}
	var b strings.Builder
	b.WriteString("labels: {x: &b [")
	b.WriteString(strings.Repeat("a,", jobValuesMax) + "a]}\nexec: {command: *b}\n")
	if _, wrong := parseJobs("f", []byte(b.String())); !strings.Contains(fmt.Sprint(wrong), "more than 100000 values") {
		t.Errorf("too many values: %.200s", fmt.Sprint(wrong))
	}
}

func TestTaskSchema(t *testing.T) {
	r := cli(t, "task", "schema")
	var s struct {
		Properties map[string]struct {
			Description string         `json:"description"`
			Properties  map[string]any `json:"properties"`
		} `json:"properties"`
		Defs map[string]any   `json:"$defs"`
		One  []map[string]any `json:"oneOf"`
	}
	if err := json.Unmarshal([]byte(r.out), &s); err != nil || r.code != 0 {
		t.Fatal(r, err)
	}
	for _, key := range []string{"exec", "function", "priority", "constraints", "earliestStartTime", "retryPolicy"} {
		if p, ok := s.Properties[key]; !ok || p.Description == "" {
			t.Errorf("%s is not there, or not described", key)
		}
	}
	for _, key := range []string{"status", "logTail", "nodeId"} {
		if _, ok := s.Properties[key]; ok {
			t.Errorf("%s is output only", key)
		}
	}
	if len(s.One) != 2 || s.Defs["Constraints"] == nil {
		t.Errorf("oneOf %v, definitions %v", s.One, s.Defs)
	}
	cli(t, "task", "schema").expect(t, 0, []string{`"additionalProperties": false`, `"minimum": -1000`, `"pattern": "^([A-Za-z0-9]`}, nil)
}

func TestManyTasksGoInBatches(t *testing.T) {
	var calls []int
	keys := map[string]bool{}
	m := (&member{submitMany: func(r *v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error) {
		calls = append(calls, len(r.GetRequests()))
		if len(calls) == 3 {
			return nil, refusal(connect.CodeInternal, "the disk is gone")
		}
		res := &v1.SubmitTasksResponse{}
		for _, s := range r.GetRequests() {
			keys[s.GetRequestId()] = true
			res.Outcomes = append(res.Outcomes, &v1.SubmitTaskOutcome{Outcome: &v1.SubmitTaskOutcome_Task{Task: &v1.Task{Id: s.GetRequestId()}}})
		}
		return res, nil
	}}).start(t)
	m.at(t, "submit", "--array", "0-2499", "--request-id", "k", "true").expect(t, 1, []string{"k/1999\n"}, []string{
		"the disk is gone", "2000 of 2500 tasks are known to be submitted: the same command with --request-id k goes on, and submits none twice"})
	if fmt.Sprint(calls) != "[1000 1000 500]" || len(keys) != 2000 {
		t.Errorf("calls of %v, %d keys", calls, len(keys))
	}
}

func TestManyTasksAreReadAsFarAsTheyAreShown(t *testing.T) {
	for output, whole := range map[string]bool{"table": false, "json": true} {
		m := (&member{submitMany: func(r *v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error) {
			res := &v1.SubmitTasksResponse{}
			for _, s := range r.GetRequests() {
				if s.GetIdOnly() == whole {
					t.Errorf("-o %s asks with id_only = %v", output, s.GetIdOnly())
				}
				o := &v1.SubmitTaskOutcome{Outcome: &v1.SubmitTaskOutcome_TaskId{TaskId: s.GetRequestId()}}
				if !s.GetIdOnly() {
					o.Outcome = &v1.SubmitTaskOutcome_Task{Task: &v1.Task{Id: s.GetRequestId(), Name: "whole"}}
				}
				res.Outcomes = append(res.Outcomes, o)
			}
			return res, nil
		}}).start(t)
		want := []string{"k/0\nk/1\n"}
		if whole {
			want = []string{`"k/1"`, `"whole"`}
		}
		m.at(t, "submit", "-o", output, "--array", "0-1", "--request-id", "k", "true").expect(t, 0, want, nil)
	}
}

// sequenced is a member whose tasks end when the test says so.
func sequenced(t *testing.T, inOrder ...string) (m *member, asked chan string) {
	t.Helper()
	m = exampleMember(t)
	ended := map[string]bool{}
	asked = make(chan string, 1000)
	m.events = func(ctx context.Context, _ *v1.WatchEventsRequest, s *connect.ServerStream[v1.WatchEventsResponse]) error {
		if err := s.Send(&v1.WatchEventsResponse{Cursor: "1"}); err != nil {
			return err
		}
		for _, id := range inOrder { // each once all have been asked for
			select {
			case <-asked:
			case <-ctx.Done():
				return nil
			}
			m.mu.Lock()
			ended[id] = true
			m.mu.Unlock()
			event := &v1.Event{Type: v1.EventType_EVENT_TYPE_TASK_COMPLETED, Subject: &v1.Event_Task{Task: &v1.TaskEvent{TaskId: id}}}
			if err := s.Send(&v1.WatchEventsResponse{Cursor: "2", Event: event}); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return nil
	}
	get := m.get
	m.get = func(r *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		res, err := get(r)
		m.mu.Lock()
		defer m.mu.Unlock()
		if err == nil && !ended[r.GetId()] {
			res = proto.CloneOf(res)
			res.Task.Status = v1.TaskStatus_TASK_STATUS_RUNNING
		}
		asked <- r.GetId()
		return res, err
	}
	return m, asked
}

func TestMapPrintsInOrder(t *testing.T) {
	m, _ := sequenced(t, "task-of-k-2", "task-of-k-0", "task-of-k-1")
	r := cliWith(t.Context(), "a\nb\nc\n", "--server", m.url, "map", "--request-id", "k", "--", "echo")
	if want := "echo a index=0 item=a\necho b index=1 item=b\necho c index=2 item=c\n"; r.code != 0 || r.out != want {
		t.Errorf("exit code %d, output:\n%s%s", r.code, r.out, r.err)
	}
}

func TestInterruptedMapSaysHowToGoOn(t *testing.T) {
	m, asked := sequenced(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	r := cliWith(ctx, "a\nb\n", "--server", m.url, "map", "--request-id", "k", "--", "echo")
	r.expect(t, 130, nil, []string{"no longer waiting, 0 of 2 tasks have ended. The others go on: the same command with --request-id k follows them again",
		"'raft-node task list --label array=k' shows them", "'raft-node task cancel --label array=k' ends them"})
}

func TestMapJobsShareAKey(t *testing.T) {
	var got *v1.Task
	m := exampleMember(t)
	many := m.submitMany
	m.submitMany = func(r *v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error) {
		got = r.GetRequests()[0].GetTask()
		return many(r)
	}
	cliWith(t.Context(), "a\n", "--server", m.url, "map", "--request-id", "k", "-j", "3", "--env", "X=<{}>", "--", "echo").expect(t, 0, nil, nil)
	if got.GetConcurrencyKey() != "k" || got.GetMaxConcurrency() != 3 || got.GetExec().GetEnv()["X"] != "<a>" || got.GetLabels()["array"] != "k" {
		t.Errorf("submitted %v", got)
	}
}

// FuzzJobFile reads any text as tasks that a member would take, or as mistakes that
// name the file and a line of it.
func FuzzJobFile(f *testing.F) {
	for _, s := range []string{"exec: {command: [a]}", "---\n---\n", "a: &x [*x]", "exec: {command: &c [a]}\nlabels: {a: *c}", "exec: 1", "- a", "? {a: b}\n: c", "function: {name: f, payload: !!binary aGk=}",
		"exec: {command: [a]}\n---\n{", "timeout: 1h\nexec: {command: ['']}", "\xff", "priority: 99999999999999999999", "labels: {? [a] : b}", "exec: ~", "constraints: {labels: [{key: a, operator: in}]}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		jobs, mistakes := parseJobs("f", []byte(text))
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + 2
		for _, m := range mistakes {
			if m.line < 1 || m.line > lines || !strings.HasPrefix(m.String(), "f:") {
				t.Errorf("%q is in no line of %q", m, text)
			}
		}
		if len(jobs) == 0 && len(mistakes) == 0 {
			t.Errorf("%q is neither tasks nor a mistake", text)
		}
	})
}

// FuzzArray reads indexes that are as they were written.
func FuzzArray(f *testing.F) {
	for _, s := range []string{"0-99", "0-99:10", "1,5,7", "", "-", "1-", ":", "1:2", "3-1", "1-5:0", "4294967296", "0-1000000000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		indexes, err := parseArray(s)
		if err != nil {
			return
		}
		if len(indexes) == 0 || len(indexes) > arrayMax {
			t.Errorf("%q has %d indexes", s, len(indexes))
		}
		var each []string
		for _, i := range indexes {
			each = append(each, fmt.Sprint(i))
		}
		if again, err := parseArray(strings.Join(each, ",")); err != nil || fmt.Sprint(again) != fmt.Sprint(indexes) {
			t.Errorf("%q is %v, and that is %v (%v)", s, indexes, again, err)
		}
	})
}
