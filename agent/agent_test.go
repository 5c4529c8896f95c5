package agent

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	pending         = controlplanev1.TaskStatus_TASK_STATUS_PENDING
	completed       = controlplanev1.TaskStatus_TASK_STATUS_COMPLETED
	failed          = controlplanev1.TaskStatus_TASK_STATUS_FAILED
	cancelledStatus = controlplanev1.TaskStatus_TASK_STATUS_CANCELLED
)

func TestOutcomes(t *testing.T) {
	code := func(n int32) *int32 { return &n }
	long := strings.Repeat("x", 200)
	tests := []struct {
		name, script string
		status       controlplanev1.TaskStatus
		code         *int32
		err          string
		result       string
		log          string
	}{
		{"success", `echo hi`, completed, code(0), "", "", "hi\n"},
		{"JSON result", `echo first; echo '{"accuracy": 0.5}'`, completed, code(0), "", `{"accuracy": 0.5}`, "first\n{\"accuracy\": 0.5}\n"},
		{"JSON on stderr is no result", `echo 1 >&2`, completed, code(0), "", "", "1\n"},
		{"exit code", `echo oops >&2; exit 3`, failed, code(3), "exit status 3", "", "oops\n"},
		{"signal", `kill -9 $$`, failed, nil, "killed by signal 9 (killed)", "", ""},
		{"not UTF-8", `printf 'a\377b\n'`, completed, code(0), "", "", "a\uFFFDb\n"},
		{"background process does not hold up the end", `sleep 1000 & echo done`, completed, code(0), "", "", "done\n"},
		{"long line", `echo ` + long, completed, code(0), "", "", long + "\n"},
	}
	p := newPlane(t)
	startAgent(t, p)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p.give(shell("t-"+strings.ReplaceAll(tt.name, " ", "-"), 1, nil, tt.script))
			got := p.result(t)
			if got.GetStatus() != tt.status || got.GetError() != tt.err || string(got.GetResult()) != tt.result || got.GetLogTail() != tt.log {
				t.Errorf("got %v", got)
			}
			if (got.ExitCode == nil) != (tt.code == nil) || got.GetExitCode() != deref(tt.code) {
				t.Errorf("exit code %v, want %v", got.ExitCode, tt.code)
			}
		})
	}
}

func deref(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

func TestCannotStart(t *testing.T) {
	p := newPlane(t)
	startAgent(t, p)
	exec := func(e *controlplanev1.ExecTask) *controlplanev1.Task {
		return &controlplanev1.Task{Id: "t", Attempt: 1, Work: &controlplanev1.Task_Exec{Exec: e}}
	}
	tests := []struct {
		name, want string
		task       *controlplanev1.Task
	}{
		{"no program", `cannot start: no program "no-such-program" in the PATH of the node`, exec(&controlplanev1.ExecTask{Command: []string{"no-such-program"}})},
		{"no file", "cannot start: ./none: no such file or directory", exec(&controlplanev1.ExecTask{Command: []string{"./none"}})},
		{"no directory", "cannot start: working_dir: stat /no/such/dir: no such file or directory", exec(&controlplanev1.ExecTask{Command: []string{"true"}, WorkingDir: "/no/such/dir"})},
		{"function", "cannot start: this node runs commands, and the task is none", &controlplanev1.Task{Id: "t", Work: &controlplanev1.Task_Function{Function: &controlplanev1.FunctionTask{Name: "f"}}}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.task.Attempt = int32(i + 1)
			p.give(tt.task)
			if got := p.result(t); got.GetStatus() != failed || got.GetError() != tt.want || got.ExitCode != nil {
				t.Errorf("got %v, want the error %q", got, tt.want)
			}
		})
	}
}

func TestEnvironmentAndDirectory(t *testing.T) {
	t.Setenv("RAFT_NODE_TOKEN", "secret")
	t.Setenv("FROM_AGENT", "yes")
	p := newPlane(t)
	work := t.TempDir()
	a := startAgent(t, p, func(c *Config) { c.WorkDir, c.GPUs = work, "0,1" })
	task := shell("task-1", 7, nil, `echo "$TASK_ID $TASK_ATTEMPT $TASK_NAME $FROM_AGENT ${RAFT_NODE_TOKEN-none} $MINE ${TRACEPARENT-none}"; echo "[$CUDA_VISIBLE_DEVICES]"; ls -A; pwd`)
	task.GetExec().Env = map[string]string{"MINE": "x y", "TASK_ATTEMPT": "99"}
	task.GpuDevices = []int32{1, 0}
	t.Setenv("TRACEPARENT", "the agent's own")
	p.give(task)
	lines := strings.Split(strings.TrimSpace(p.result(t).GetLogTail()), "\n")
	if len(lines) != 3 { // the directory is empty
		t.Fatalf("output %q", lines)
	}
	if lines[0] != "task-1 7 name of task-1 yes none x y none" || lines[1] != "[1,0]" || filepath.Dir(lines[2]) != work {
		t.Errorf("output %q, work dir %s", lines, work)
	}

	task = shell("task-2", 1, nil, `echo "[${CUDA_VISIBLE_DEVICES-unset}] $TRACEPARENT $TRACESTATE"`)
	task.Traceparent, task.Tracestate = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=1"
	p.give(task)
	if got := p.result(t).GetLogTail(); got != "[] "+task.GetTraceparent()+" a=1\n" {
		t.Errorf("a traced task without GPUs on a node with GPUs sees %q", got)
	}
	a.stop()
	if err := receive(t, "the end", a.done); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(work); len(left) > 0 {
		t.Errorf("left in the work dir: %v", left)
	}
}

func TestTimeoutKillsDescendants(t *testing.T) {
	p := newPlane(t)
	startAgent(t, p, func(c *Config) { c.StopGrace = 200 * time.Millisecond })
	f := newFIFO(t)
	// One grandchild ignores SIGTERM, one has left the session and the group.
	task := shell("t", 1, f, `trap '' TERM; sleep 1000 & setsid sleep 1000 & setsid sh -c 'sleep 1000 & wait' & echo up >&9; wait; sleep 1000`)
	task.Timeout = durationpb.New(1500 * time.Millisecond) // long enough to say that it is up
	p.give(task)
	f.expect(t, "up")
	if got := p.result(t); got.GetStatus() != failed || got.GetError() != "timed out after 1.5s" || got.ExitCode != nil {
		t.Errorf("got %v", got)
	}
	f.expectEnd(t)
}

func TestCancelIsGentleFirst(t *testing.T) {
	p := newPlane(t)
	startAgent(t, p)
	p.set(func() { p.lease = 3 * time.Second }) // the stop comes with a heartbeat
	f := newFIFO(t)
	// The shell dies at once; its child saves its work, and is given the time.
	p.give(shell("t", 1, f, `sh -c 'trap "sleep 0.3; echo saved >&9; exit 0" TERM; echo up >&9; while :; do sleep 0.05; done' & wait`))
	f.expect(t, "up")
	p.set(func() {
		p.stops = []*controlplanev1.StopAttempt{{TaskId: "t", Attempt: 1, Reason: "cancelled"}, {TaskId: "other", Attempt: 1, Reason: "cancelled"}}
	})
	f.expect(t, "saved")
	f.expectEnd(t)
	if got := p.result(t); got.GetStatus() != cancelledStatus || got.ExitCode != nil {
		t.Errorf("got %v", got)
	}
}

func TestNotYoursIsDropped(t *testing.T) {
	p := newPlane(t)
	p.lease = 1500 * time.Millisecond
	startAgent(t, p)
	f := newFIFO(t)
	p.give(shell("t", 1, f, `trap '' TERM; echo up >&9; while :; do sleep 0.05; done`))
	f.expect(t, "up")
	p.set(func() { p.stops = []*controlplanev1.StopAttempt{{TaskId: "t", Attempt: 1, Reason: "not_yours"}} })
	f.expectEnd(t)
	p.give(shell("next", 1, nil, `true`)) // its report is the only one
	if got := p.result(t); got.GetTaskId() != "next" {
		t.Errorf("got %v", got)
	}
}

func TestRedelivery(t *testing.T) {
	p := newPlane(t)
	startAgent(t, p, func(c *Config) { c.Slots = 4 })
	first, second, third := newFIFO(t), newFIFO(t), newFIFO(t)
	p.give(shell("t", 1, first, `echo $PPID >&9; sleep 1000`))
	supervisor := receive(t, "the supervisor's id", first.lines)
	send := func(signal string) {
		if out, err := exec.Command("kill", signal, supervisor).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	p.give(shell("t", 1, second, `echo again >&9`))
	// A newer attempt waits for the end of the older, which cannot end just now.
	send("-STOP")
	p.give(shell("t", 2, third, `echo newer >&9; sleep 1000`))
	p.give(shell("t", 1, second, `echo again >&9`))
	p.give(shell("other", 1, nil, `true`))
	if got := p.result(t); got.GetTaskId() != "other" {
		t.Errorf("got %v", got)
	}
	if len(third.lines) > 0 {
		t.Error("two attempts of a task ran at the same time")
	}
	send("-CONT")
	first.expectEnd(t)
	third.expect(t, "newer")
	if len(second.lines) > 0 {
		t.Error("an attempt was started twice")
	}
}

func TestDeliveredAgainAfterItsEnd(t *testing.T) {
	p := newPlane(t)
	startAgent(t, p)
	p.give(shell("t", 1, nil, `true`))
	p.result(t)
	p.give(shell("t", 1, nil, `true`), shell("other", 1, nil, `true`))
	if got := p.result(t); got.GetTaskId() != "other" {
		t.Errorf("got %v", got)
	}
}

func TestReportIsRetriedAndHeldMeanwhile(t *testing.T) {
	p := newPlane(t)
	p.lease = 1500 * time.Millisecond
	startAgent(t, p)
	refuse := 3
	p.report = func(*controlplanev1.TaskResult) (*controlplanev1.ReportOutcome, error) {
		refuse--
		switch refuse {
		case 2:
			return nil, connect.NewError(connect.CodeUnavailable, errors.New("no leader"))
		case 1:
			return nil, connect.NewError(connect.CodeAborted, errors.New("outcome unknown"))
		case 0:
			return &controlplanev1.ReportOutcome{Outcome: &controlplanev1.ReportOutcome_Error{Error: &controlplanev1.ItemError{Code: "unavailable"}}}, nil
		}
		return nil, nil
	}
	p.give(shell("t", 1, nil, `echo 1`))
	for range 4 {
		if got := p.result(t); got.GetTaskId() != "t" || string(got.GetResult()) != "1" {
			t.Fatalf("got %v", got)
		}
	}
	for held := true; held; { // a heartbeat lists it until it is answered
		held = len(receive(t, "a heartbeat", p.beats).GetHeld()) > 0 || len(p.beats) > 0
	}
	p.give(shell("other", 1, nil, `true`))
	if got := p.result(t); got.GetTaskId() != "other" {
		t.Errorf("got %v", got)
	}
}

func TestRefusedReportIsDropped(t *testing.T) {
	p := newPlane(t)
	startAgent(t, p)
	p.report = func(r *controlplanev1.TaskResult) (*controlplanev1.ReportOutcome, error) {
		switch r.GetTaskId() {
		case "item":
			return &controlplanev1.ReportOutcome{Outcome: &controlplanev1.ReportOutcome_Error{Error: &controlplanev1.ItemError{Code: "failed_precondition"}}}, nil
		case "call":
			return nil, connect.NewError(connect.CodeNotFound, errors.New("no such task"))
		case "malformed":
			if r.GetStatus() == completed {
				return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("results[0].result: too long"))
			}
		}
		return nil, nil
	}
	for _, id := range []string{"item", "call", "malformed"} {
		p.give(shell(id, 1, nil, `echo 1`))
		if got := p.result(t); got.GetTaskId() != id {
			t.Fatalf("got %v, want a report of %s", got, id)
		}
	}
	if got := p.result(t); got.GetStatus() != failed || !strings.Contains(got.GetError(), "too long") {
		t.Errorf("got %v, want a plain failure in place of what was malformed", got)
	}
	p.give(shell("last", 1, nil, `true`))
	if got := p.result(t); got.GetTaskId() != "last" {
		t.Errorf("got %v", got)
	}
}

func TestReportCarriesTheNextPoll(t *testing.T) {
	p := newPlane(t)
	startAgent(t, p, func(c *Config) { c.Slots = 1 })
	receive(t, "the first poll", p.polls)
	p.give(shell("t1", 1, nil, `true`), shell("t2", 1, nil, `true`), shell("t3", 1, nil, `true`))
	for _, want := range []string{"t1", "t2", "t3"} {
		call := receive(t, "a report", p.calls)
		if call.GetMaxTasks() != 1 || call.GetWait().AsDuration() != 0 || call.GetResults()[0].GetTaskId() != want {
			t.Errorf("got %v, want a report of %s that polls for one task without waiting", call, want)
		}
		if len(p.polls) > 0 {
			t.Error("a node with one slot polled beside its report")
		}
		if want == "t2" {
			continue
		}
	}
	receive(t, "a poll once there is no more work", p.polls)
}

func TestPollSaysWhatIsHeld(t *testing.T) {
	p := newPlane(t)
	startAgent(t, p)
	if req := receive(t, "a poll", p.polls); !req.GetHeldComplete() || req.GetMaxTasks() != 2 || len(req.GetHeld()) != 0 {
		t.Errorf("first poll %v", req)
	}
	f := newFIFO(t)
	p.give(shell("t", 1, f, `echo up >&9; sleep 1000`))
	f.expect(t, "up")
	if req := receive(t, "a poll", p.polls); req.GetHeldComplete() || req.GetMaxTasks() != 1 {
		t.Errorf("second poll %v", req)
	}
	p.set(func() { p.pollErr = connect.NewError(connect.CodeUnavailable, errors.New("no leader")) })
	req := receive(t, "a poll", p.polls)
	if !req.GetHeldComplete() || len(req.GetHeld()) != 1 || req.GetHeld()[0].GetTaskId() != "t" {
		t.Errorf("poll after a lost answer %v", req)
	}
	p.set(func() { p.pollErr = nil })
}
