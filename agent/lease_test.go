package agent

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// family is a script of a task with descendants of all kinds, none of which minds
// SIGTERM.
const family = `trap '' TERM; sleep 1000 & setsid sleep 1000 & (setsid sh -c 'sleep 1000 & wait' &) ; echo up >&9; while :; do sleep 0.05; done`

func TestRegistration(t *testing.T) {
	p := newPlane(t)
	p.lease = 600 * time.Millisecond
	startAgent(t, p, func(c *Config) {
		c.Labels, c.Provider, c.Spot, c.PriceMicrosPerHour = map[string]string{"team": "ml"}, "aws", true, 1_500_000
		c.GPUs, c.Version = "3,1", "v1"
	})
	first := receive(t, "a heartbeat", p.beats)
	spec := first.GetSpec()
	if first.GetSessionId() == "" || first.GetNodeId() != "n1" || first.GetUsage().GetMemoryBytes() == 0 {
		t.Errorf("first heartbeat %v", first)
	}
	if spec.GetSlots() != 2 || !spec.GetExec() || spec.GetCapacity().GetCpuMillis() < 1000 || spec.GetCapacity().GetMemoryBytes() == 0 ||
		spec.GetCapacity().GetGpus() != 2 || spec.GetGpuDevices()[0].GetIndex() != 3 || spec.GetLabels()["team"] != "ml" ||
		spec.GetProvider() != "aws" || !spec.GetSpot() || spec.GetPriceMicrosPerHour() != 1_500_000 || spec.GetVersion() != "v1" {
		t.Errorf("spec %v", spec)
	}
	if next := receive(t, "a heartbeat", p.beats); next.GetSpec() != nil || next.GetSessionId() != first.GetSessionId() {
		t.Errorf("second heartbeat %v", next)
	}
	p.set(func() { p.beatErr = connect.NewError(connect.CodeNotFound, errors.New("unknown node")) })
	for receive(t, "a heartbeat", p.beats).GetSpec() == nil {
	}
	p.set(func() { p.beatErr = nil })
}

func TestRegistrationThatCannotWork(t *testing.T) {
	p := newPlane(t)
	p.beatErr = connect.NewError(connect.CodeUnauthenticated, errors.New("wrong token"))
	a := startAgent(t, p)
	if err := receive(t, "the end", a.done); err == nil || !strings.Contains(err.Error(), "--token-file") {
		t.Errorf("got %v", err)
	}
}

func TestLeaseLost(t *testing.T) {
	p := newPlane(t)
	p.lease = 2 * time.Second
	startAgent(t, p)
	f := newFIFO(t)
	p.give(shell("t", 1, f, family))
	f.expect(t, "up")
	p.set(func() { p.dead = true })
	f.expectEnd(t)
	for len(p.beats) > 0 {
		<-p.beats
	}
	p.set(func() { p.dead = false })
	// It was not the task's fault.
	if got := p.result(t); got.GetStatus() != pending || !strings.Contains(got.GetError(), "lease") {
		t.Errorf("got %v", got)
	}
	receive(t, "a heartbeat afterwards", p.beats)
	receive(t, "another, by when the first was answered", p.beats)
	p.give(shell("next", 1, nil, `true`))
	if got := p.result(t); got.GetStatus() != completed {
		t.Errorf("got %v", got)
	}
}

func TestLeaseIsKeptByHeartbeats(t *testing.T) {
	p := newPlane(t)
	p.lease = 2 * time.Second
	startAgent(t, p)
	f := newFIFO(t)
	task := shell("t", 1, f, `echo up >&9; read x <"$FIFO.go"`)
	if err := syscall.Mkfifo(f.path+".go", 0o600); err != nil {
		t.Fatal(err)
	}
	p.give(task)
	f.expect(t, "up")
	for len(p.beats) > 0 {
		<-p.beats
	}
	for range 8 { // more than two leases
		receive(t, "a heartbeat", p.beats)
	}
	gate, err := os.OpenFile(f.path+".go", os.O_RDWR, 0) // does not wait for a reader
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	if _, err := gate.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	if got := p.result(t); got.GetStatus() != completed {
		t.Errorf("got %v", got)
	}
}

func TestSessionReplaced(t *testing.T) {
	p := newPlane(t)
	p.lease = 1500 * time.Millisecond
	a := startAgent(t, p)
	f := newFIFO(t)
	p.give(shell("t", 1, f, family))
	f.expect(t, "up")
	p.set(func() { p.beatErr = connect.NewError(connect.CodeFailedPrecondition, errors.New("replaced")) })
	if err := receive(t, "the end", a.done); !errors.Is(err, ErrReplaced) {
		t.Errorf("got %v", err)
	}
	f.expectEnd(t)
	if len(p.calls) > 0 {
		t.Errorf("reported %v", <-p.calls)
	}
}

func TestGracefulStopHandsBack(t *testing.T) {
	p := newPlane(t)
	a := startAgent(t, p)
	f := newFIFO(t)
	p.give(shell("t", 1, f, `trap 'echo saved; echo saved >&9; exit 0' TERM; echo up >&9; while :; do sleep 0.05; done`))
	f.expect(t, "up")
	a.stop()
	f.expect(t, "saved")
	if got := p.result(t); got.GetStatus() != pending || !strings.Contains(got.GetLogTail(), "saved\n") {
		t.Errorf("got %v", got)
	}
	if err := receive(t, "the end", a.done); err != nil {
		t.Error(err)
	}
	f.expectEnd(t)
	// The poll that was cut off may have been given work: that is handed back too.
	last := &controlplanev1.PollTaskRequest{}
	for len(p.polls) > 0 {
		last = <-p.polls
	}
	if !last.GetHeldComplete() || last.GetWait().AsDuration() != 0 {
		t.Errorf("last poll %v", last)
	}
}

func TestTasksDeliveredAtTheEndAreHandedBack(t *testing.T) {
	p := newPlane(t)
	work := t.TempDir()
	a := startAgent(t, p, func(c *Config) { c.WorkDir = work })
	receive(t, "a poll", p.polls)
	f := newFIFO(t)
	p.set(func() { p.pollErr = connect.NewError(connect.CodeUnavailable, errors.New("no leader")) })
	receive(t, "a poll", p.polls)
	a.stop()
	p.set(func() { p.pollErr, p.tasks = nil, []*controlplanev1.Task{shell("t", 1, f, `echo up >&9`)} })
	if got := p.result(t); got.GetStatus() != pending {
		t.Errorf("got %v", got)
	}
	if len(f.lines) > 0 {
		t.Error("it was started")
	}
	if err := receive(t, "the end", a.done); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(work); len(left) > 0 {
		t.Errorf("left in the work dir: %v", left)
	}
}

// agentProcess is an agent in a process of its own, leader of its process group.
func agentProcess(t *testing.T, p *plane) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "agent", p.url, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = testLog{t}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestStoppedAgentLosesItsTasksInTime(t *testing.T) {
	p := newPlane(t)
	p.lease = 1500 * time.Millisecond
	agent := agentProcess(t, p)
	f := newFIFO(t)
	p.give(shell("t", 1, f, family))
	f.expect(t, "up")
	if err := syscall.Kill(-agent.Process.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	f.expectEnd(t) // while the agent is stopped
	p.set(func() { p.stops = []*controlplanev1.StopAttempt{{TaskId: "t", Attempt: 1, Reason: "not_yours"}} })
	for len(p.beats) > 0 {
		<-p.beats
	}
	if err := syscall.Kill(-agent.Process.Pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	receive(t, "a heartbeat afterwards", p.beats)
	receive(t, "another, by when the first was answered", p.beats)
	p.give(shell("next", 1, nil, `true`))
	for {
		switch got := p.result(t); {
		case got.GetTaskId() == "next" && got.GetStatus() == completed:
			return
		case got.GetTaskId() != "t" || got.GetStatus() != pending: // unless the heartbeat came first
			t.Fatalf("got %v", got)
		}
	}
}

func TestKilledAgentLeavesNoProcess(t *testing.T) {
	for name, group := range map[string]int{"process": 1, "process group": -1} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t)
			p.lease = time.Hour // it is not the deadline that ends them
			agent := agentProcess(t, p)
			f := newFIFO(t)
			p.give(shell("t", 1, f, family))
			f.expect(t, "up")
			if err := syscall.Kill(group*agent.Process.Pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			f.expectEnd(t)
		})
	}
}

func TestAgentProcessStopsOnSIGTERM(t *testing.T) {
	p := newPlane(t)
	agent := agentProcess(t, p)
	f := newFIFO(t)
	p.give(shell("t", 1, f, `echo up >&9; sleep 1000`))
	f.expect(t, "up")
	_ = agent.Process.Signal(syscall.SIGTERM)
	if got := p.result(t); got.GetStatus() != pending {
		t.Errorf("got %v", got)
	}
	if err := agent.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	f.expectEnd(t)
}

func kill9(t *testing.T, pid string) {
	t.Helper()
	if out, err := exec.Command("kill", "-9", pid).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestKilledSupervisorIsAFailure(t *testing.T) {
	p := newPlane(t)
	startAgent(t, p)
	f := newFIFO(t)
	p.give(shell("t", 1, f, `echo $PPID >&9; exec sleep 1000`))
	kill9(t, receive(t, "the supervisor's id", f.lines))
	if got := p.result(t); got.GetStatus() != failed || !strings.Contains(got.GetError(), "supervisor") {
		t.Errorf("got %v", got)
	}
	f.expectEnd(t)
}

// The kernel kills the command of a killed supervisor, and the agent its group. The
// supervisor is killed once it has obeyed an order: by then the agent knows the
// group.
func TestGroupOfKilledSupervisor(t *testing.T) {
	p := newPlane(t)
	p.lease = 1500 * time.Millisecond
	startAgent(t, p)
	f := newFIFO(t)
	p.give(shell("t", 1, f, `(trap '' TERM; exec sleep 1000) & trap 'echo $PPID >&9' TERM; echo up >&9; while :; do sleep 0.05; done`))
	f.expect(t, "up")
	p.set(func() { p.stops = []*controlplanev1.StopAttempt{{TaskId: "t", Attempt: 1, Reason: "cancelled"}} })
	kill9(t, receive(t, "the supervisor's id", f.lines))
	if got := p.result(t); got.GetStatus() != cancelledStatus {
		t.Errorf("got %v", got)
	}
	f.expectEnd(t)
}

func TestSuperviseByHand(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "supervise", "something")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "no arguments") {
		t.Errorf("%v: %s", err, out)
	}
	cmd = exec.Command(exe, "supervise")
	cmd.Stdin = io.LimitReader(strings.NewReader("not JSON"), 8)
	out, err = cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "no command") {
		t.Errorf("%v: %s", err, out)
	}
}
