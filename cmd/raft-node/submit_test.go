package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// taker stores what is submitted.
func taker(t *testing.T) (*member, *[]*v1.SubmitTaskRequest) {
	var got []*v1.SubmitTaskRequest
	m := &member{submit: func(r *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
		got = append(got, r)
		return &v1.SubmitTaskResponse{Task: r.GetTask()}, nil
	}}
	return m.start(t), &got
}

func TestSubmitCommand(t *testing.T) {
	m, got := taker(t)
	r := m.at(t, "submit", "--name", "train", "--queue", "gpu", "--priority", "-5", "--label", "a=1", "--label", "b=x=y", "--env", "K=v,w",
		"--workdir", "/data", "--cpu", "0.5", "--memory", "1.5GiB", "--gpus", "2", "--timeout", "90s", "--max-attempts", "3",
		"--id", "mine", "--request-id", "key", "--", "python3", "train.py", "--lr", "0.1", "--name", "inner")
	r.expect(t, 0, nil, nil)
	if r.out != "mine\n" {
		t.Errorf("output = %q, want the id alone", r.out)
	}
	want := &v1.SubmitTaskRequest{RequestId: "key", Task: &v1.Task{
		Id: "mine", Name: "train", Queue: "gpu", Priority: -5, Labels: map[string]string{"a": "1", "b": "x=y"},
		Work: &v1.Task_Exec{Exec: &v1.ExecTask{
			Command: []string{"python3", "train.py", "--lr", "0.1", "--name", "inner"}, Env: map[string]string{"K": "v,w"}, WorkingDir: "/data",
		}},
		Resources: &v1.Resources{CpuMillis: 500, MemoryBytes: 3 << 29, Gpus: 2},
		Timeout:   durationpb.New(90 * time.Second), MaxAttempts: 3,
	}}
	if !proto.Equal((*got)[0], want) {
		t.Errorf("request = %v\nwant %v", (*got)[0], want)
	}
	m.at(t, "submit", "--id", "t1", "-o", "json", "echo", "-n", "hi").expect(t, 0, []string{`"id": "t1"`, `"-n"`}, nil)
	if (*got)[1].GetTask().Timeout != nil {
		t.Error("a timeout was sent that nobody gave")
	}
}

func TestSubmitFunction(t *testing.T) {
	m, got := taker(t)
	file := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(file, []byte{0xff, 0x00}, 0o600); err != nil {
		t.Fatal(err)
	}
	m.at(t, "submit", "--function", "f", "--payload", `{"x": 1}`).expect(t, 0, nil, nil)
	m.at(t, "submit", "--function", "f", "--payload", "@"+file).expect(t, 0, nil, nil)
	cliWith(t.Context(), "from stdin", "--server", m.url, "submit", "--function", "f", "--payload", "@-").expect(t, 0, nil, nil)
	m.at(t, "submit", "--function", "f").expect(t, 0, nil, nil)
	for i, want := range []string{`{"x": 1}`, "\xff\x00", "from stdin", ""} {
		f := (*got)[i].GetTask().GetFunction()
		if f.GetName() != "f" || string(f.GetPayload()) != want {
			t.Errorf("submission %d: function = %v, want payload %q", i, f, want)
		}
	}
}

func TestSubmitMistakes(t *testing.T) {
	m, got := taker(t)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "nothing to do: give a command after '--', or --function"},
		{[]string{"--function", "f", "x"}, "exclude each other"},
		{[]string{"--payload", "1", "x"}, "--payload: belongs to --function"},
		{[]string{"--function", "f", "--env", "A=b"}, "--workdir, --env: are for commands"},
		{[]string{"--function", "f", "--payload", "{"}, "--payload: { is not JSON"},
		{[]string{"--function", "f", "--payload", "@/none"}, "--payload: open /none"},
		{[]string{"--env", "A", "x"}, `--env: "A": give it as key=value`},
		{[]string{"--label", "a=1", "--label", "a=2", "x"}, "--label: a is given twice"},
		{[]string{"--cpu", "half", "x"}, `--cpu: "half": give cores as a number`},
		{[]string{"--memory", "2Gx", "x"}, `--memory: "2Gx": the unit must be`},
		{[]string{"--cpu", "x", "--memory", "y", "z"}, "--memory: \"y\""},
	} {
		m.at(t, append([]string{"submit"}, tc.args...)...).expect(t, 2, nil, []string{tc.want, "See 'raft-node submit --help'."})
	}
	if len(*got) > 0 {
		t.Errorf("%d tasks were submitted all the same", len(*got))
	}
}

func TestSubmitRefused(t *testing.T) {
	m := (&member{submit: func(*v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
		return nil, refusal(connect.CodeInvalidArgument, "task.priority: must be at most 1000")
	}}).start(t)
	m.at(t, "submit", "--priority", "5000", "x").expect(t, 1, nil, []string{"raft-node: task.priority: must be at most 1000\n"})
}

func TestSubmitOfATakenKeyNamesItsFlag(t *testing.T) {
	for given, want := range map[string]string{
		"request_id: it belongs to task t1, which differs in name: use a new request_id": "raft-node: --request-id: it belongs to task t1, which differs in name: use a new --request-id\n",
		"task.id: task t1 exists": "raft-node: --id: task t1 exists\n",
	} {
		m := (&member{submit: func(*v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
			return nil, refusal(connect.CodeAlreadyExists, given)
		}}).start(t)
		m.at(t, "submit", "--", "x").expect(t, 1, nil, []string{want})
	}
}

func TestSubmitWait(t *testing.T) {
	code := func(c int32) *int32 { return &c }
	exec := &v1.Task_Exec{Exec: &v1.ExecTask{Command: []string{"x"}}}
	for name, tc := range map[string]struct {
		end  *v1.Task
		code int
		out  string
		err  string
	}{
		"completed":         {&v1.Task{Work: exec, Status: v1.TaskStatus_TASK_STATUS_COMPLETED, LogTail: "one\ntwo", ExitCode: code(0)}, 0, "one\ntwo\n", ""},
		"failed":            {&v1.Task{Work: exec, Status: v1.TaskStatus_TASK_STATUS_FAILED, LogTail: "oops\n", ExitCode: code(7), Attempt: 3}, 7, "oops\n", "failed in attempt 3 with exit code 7"},
		"killed":            {&v1.Task{Work: exec, Status: v1.TaskStatus_TASK_STATUS_FAILED, Error: "timed out after 1s"}, 1, "", "timed out after 1s"},
		"lost after code 0": {&v1.Task{Work: exec, Status: v1.TaskStatus_TASK_STATUS_FAILED, Error: "lost", ExitCode: code(0)}, 1, "", "lost"},
		"code out of range": {&v1.Task{Work: exec, Status: v1.TaskStatus_TASK_STATUS_FAILED, ExitCode: code(256)}, 1, "", "exit code 256"},
		"cancelled":         {&v1.Task{Work: exec, Status: v1.TaskStatus_TASK_STATUS_CANCELLED}, 130, "", "task t1 was cancelled"},
		"function": {&v1.Task{
			Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "f"}}, Status: v1.TaskStatus_TASK_STATUS_COMPLETED, Result: []byte(`{"a":1}`),
		}, 0, "{\"a\":1}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := taker(t)
			m.get = func(r *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
				tc.end.Id = r.GetId()
				return &v1.GetTaskResponse{Task: tc.end}, nil
			}
			r := m.at(t, "submit", "--id", "t1", "--wait", "x")
			r.expect(t, tc.code, nil, []string{"submitted t1", tc.err})
			if r.out != tc.out {
				t.Errorf("output = %q, want %q", r.out, tc.out)
			}
		})
	}
}

func TestSubmitWaitAsJSON(t *testing.T) {
	m, _ := taker(t)
	m.get = func(*v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		return &v1.GetTaskResponse{Task: &v1.Task{Id: "t1", Status: v1.TaskStatus_TASK_STATUS_FAILED}}, nil
	}
	m.at(t, "submit", "--id", "t1", "--wait", "-o", "json", "x").expect(t, 1, []string{`"status": "TASK_STATUS_FAILED"`}, nil)
}

func TestInterruptedWaitLeavesTheTask(t *testing.T) {
	m, _ := taker(t)
	ctx, cancel := context.WithCancel(t.Context())
	m.get = func(*v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		cancel()
		return &v1.GetTaskResponse{Task: &v1.Task{Id: "t1", Status: v1.TaskStatus_TASK_STATUS_RUNNING}}, nil
	}
	m.cancel = func(*v1.CancelTaskRequest) (*v1.CancelTaskResponse, error) {
		t.Error("the task was cancelled")
		return nil, refusal(connect.CodeInternal, "")
	}
	r := cliWith(ctx, "", "--server", m.url, "submit", "--id", "t1", "--wait", "x")
	r.expect(t, 130, nil, []string{"Task t1 goes on", "'raft-node task cancel t1' ends it"})
}

func TestWaitThatCannotFollowSaysThatTheTaskGoesOn(t *testing.T) {
	m, _ := taker(t)
	m.get = func(*v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		return nil, refusal(connect.CodeInternal, "broken")
	}
	m.at(t, "submit", "--id", "t1", "--wait", "x").expect(t, 1, nil, []string{"task t1 goes on, but it could not be followed: broken"})
}

func TestUnits(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "2": 2000, "0.5": 500, "0.001": 1, "1.250": 1250} {
		if got, err := parseCPU(in); err != nil || got != want {
			t.Errorf("parseCPU(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-1", "0.0001", "1e3", "1/2", "2 cores", "0x2", ".5", strings.Repeat("9", 30)} {
		if got, err := parseCPU(in); err == nil {
			t.Errorf("parseCPU(%q) = %d, want an error", in, got)
		}
	}
	for in, want := range map[string]int64{"1024": 1024, "512MiB": 512 << 20, "2GiB": 2 << 30, "1.5gib": 3 << 29, "1 KB": 1000, "3Ti": 3 << 40, "7B": 7} {
		if got, err := parseMemory(in); err != nil || got != want {
			t.Errorf("parseMemory(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "GiB", "-1GiB", "1.0001B", "5 apples", "9000PiB", "1e3"} {
		if got, err := parseMemory(in); err == nil {
			t.Errorf("parseMemory(%q) = %d, want an error", in, got)
		}
	}
	for bytes, want := range map[int64]string{0: "0B", 1023: "1023B", 1 << 30: "1GiB", 3 << 29: "1.5GiB", 1 << 60: "1024PiB"} {
		if got := memory(bytes); got != want {
			t.Errorf("memory(%d) = %s, want %s", bytes, got, want)
		}
	}
}

func TestSubmitNamesTheSpanOfItsEnvironment(t *testing.T) {
	const span = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	m, got := taker(t)
	for given, want := range map[string]string{span: span, "": "", "00-x": ""} {
		*got = nil
		t.Setenv("TRACEPARENT", given)
		m.at(t, "submit", "--", "true").expect(t, 0, nil, nil)
		if sent := (*got)[0].GetTask().GetTraceparent(); sent != want {
			t.Errorf("TRACEPARENT=%q: sent %q", given, sent)
		}
	}
}
