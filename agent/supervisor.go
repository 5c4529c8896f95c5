package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/raft-control-plane/control-plane/internal/session"
)

const (
	// eventsFD is the descriptor that a supervisor reports on.
	eventsFD = 3
	// superviseTick is how often a supervisor looks at the clock while it waits for
	// processes to end; otherwise it sleeps until something is due, but at most
	// superviseIdle, because its timers stand still while the machine is suspended.
	superviseTick = 25 * time.Millisecond
	superviseIdle = time.Second
	// killPatience is how long a supervisor goes on killing.
	killPatience = 5 * time.Second
)

// Supervise runs one command under the orders of an agent and returns the exit
// status of the supervisor. It is a process of its own, in its own session, so
// that neither SIGSTOP nor SIGKILL of the agent, or of its process group, keeps it
// from ending the command when the lease is over.
//
// The agent's end of the pipe closes when the agent dies, however it dies. The
// supervisor then kills everything at once, rather than at the deadline: an agent
// that starts again has a new session, by which its tasks go to other nodes at
// once, and nobody is left to take the outcome.
func Supervise(args []string) int {
	if len(args) > 0 {
		fmt.Fprintln(os.Stderr, "supervise takes no arguments: the agent starts it by itself")
		return 2
	}
	// PDEATHSIG goes by the thread that starts the command: it must not end before
	// the supervisor does.
	runtime.LockOSThread()
	syscall.CloseOnExec(eventsFD)
	// Only the agent ends a command. The signals are caught, not ignored, because
	// the command would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)

	events := os.NewFile(eventsFD, "events")
	in := json.NewDecoder(os.Stdin)
	var spec jobSpec
	if err := in.Decode(&spec); err != nil {
		if !errors.Is(err, io.EOF) {
			fmt.Fprintln(os.Stderr, "supervise: no command on standard input:", err, "(the agent starts this by itself)")
		}
		return 2
	}
	s := &supervisor{spec: spec, lease: spec.Lease, out: json.NewEncoder(events)}
	e := s.run(in)
	_ = os.Stdout.Close() // the agent waits for the end of the output
	_ = os.Stderr.Close()
	if s.out.Encode(event{Exit: &e}) != nil { // there is no agent any more
		_ = os.Remove(spec.ProgressFile)
	}
	if spec.Scratch != "" {
		_ = os.RemoveAll(spec.Scratch)
	}
	return 0
}

// supervisor watches over one command.
type supervisor struct {
	spec  jobSpec
	lease session.Deadlines
	out   *json.Encoder

	pid     int
	begun   time.Duration
	orders  chan order    // closed with the agent's end of the pipe
	child   chan struct{} // a signal each time a child has ended
	ended   chan syscall.WaitStatus
	allGone chan struct{} // closed when no child is left

	cause    exitCause
	stopping bool
	killAt   time.Duration // when stopping
	status   *syscall.WaitStatus
}

func (s *supervisor) run(in *json.Decoder) exit {
	if err := becomeReaper(); err != nil {
		return exit{StartError: err.Error()}
	}
	if session.BootClock() >= s.lease.Stop {
		return exit{Cause: leaseEnded, StartError: "the lease is over"}
	}
	if err := s.start(); err != nil {
		return exit{StartError: plainError(err)}
	}
	_ = s.out.Encode(event{Started: s.pid})
	go s.readOrders(in)
	go s.reap()
	for !s.done() {
		s.step()
	}
	e := exit{Cause: s.cause, Survivors: !s.killRest()}
	switch {
	case s.status == nil:
	case s.status.Signaled():
		e.Signal = s.status.Signal()
	default:
		e.Code = s.status.ExitStatus()
	}
	return e
}

// start starts the command in a session, and so a process group, of its own.
func (s *supervisor) start() error {
	s.orders, s.child = make(chan order), make(chan struct{}, 1)
	s.ended, s.allGone = make(chan syscall.WaitStatus, 1), make(chan struct{})
	env := make([]string, len(s.spec.Env))
	for i, e := range s.spec.Env {
		env[i] = string(e)
	}
	path, err := lookPath(s.spec.Command[0], env)
	if err != nil {
		return err
	}
	if fi, err := os.Stat(s.spec.Dir); err != nil {
		return fmt.Errorf("working_dir: %w", err)
	} else if !fi.IsDir() {
		return fmt.Errorf("working_dir: %s is not a directory", s.spec.Dir)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	p, err := os.StartProcess(path, s.spec.Command, &os.ProcAttr{
		Dir: s.spec.Dir, Env: env, Files: []*os.File{null, os.Stdout, os.Stderr}, Sys: commandAttr(),
	})
	if err != nil {
		return err
	}
	s.pid, s.begun = p.Pid, session.BootClock()
	return p.Release() // reap waits for it, and for the orphans that it leaves
}

// lookPath finds a program by the PATH of the command, not of the supervisor.
func lookPath(name string, env []string) (string, error) {
	os.Clearenv()
	for _, e := range env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			_ = os.Setenv("PATH", path)
		}
	}
	if name == "" {
		return "", errors.New("command[0] is empty")
	}
	if strings.ContainsRune(name, filepath.Separator) {
		return name, nil // relative to the working directory
	}
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("no program %q in the PATH of the node", name)
	}
	return path, err
}

// plainError leaves out what a *PathError says of system calls.
func plainError(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) && pe.Op == "fork/exec" {
		return pe.Path + ": " + pe.Err.Error()
	}
	return err.Error()
}

func (s *supervisor) readOrders(in *json.Decoder) {
	defer close(s.orders)
	for {
		var o order
		if in.Decode(&o) != nil {
			return
		}
		s.orders <- o
	}
}

// reap waits for all children: the command, and what it orphans.
func (s *supervisor) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			close(s.allGone)
			return
		case pid == s.pid:
			s.ended <- ws
		}
		select {
		case s.child <- struct{}{}:
		default:
		}
	}
}

// done reports whether what is left may be killed: the command has ended, and if
// it was told to stop, its group too, which may still be saving its work, or the
// grace period is over.
func (s *supervisor) done() bool {
	switch {
	case s.stopping && session.BootClock() >= s.killAt:
		return true
	case s.status == nil:
		return false
	}
	return !s.stopping || !groupAlive(s.pid)
}

// step waits until something happens or is due, and acts on it.
func (s *supervisor) step() {
	timer := time.NewTimer(s.untilDue())
	defer timer.Stop()
	select {
	case o, ok := <-s.orders:
		if !ok {
			s.orders = nil
			s.stop(stoppedByOrder, 0)
			return
		}
		s.obey(o)
	case ws := <-s.ended:
		s.status = &ws
		return
	case <-s.child:
	case <-timer.C:
	}
	s.check(session.BootClock())
}

func (s *supervisor) untilDue() time.Duration {
	if s.stopping {
		return superviseTick
	}
	due := s.lease.Stop
	if s.spec.Timeout > 0 {
		due = min(due, s.begun+s.spec.Timeout)
	}
	return max(0, min(due-session.BootClock(), superviseIdle))
}

func (s *supervisor) obey(o order) {
	if o.Lease != nil && o.Lease.Stop > s.lease.Stop {
		s.lease = *o.Lease
	}
	if o.Stop != nil {
		s.stop(stoppedByOrder, o.Stop.Grace)
	}
}

func (s *supervisor) check(now time.Duration) {
	if s.spec.Timeout > 0 && now >= s.begun+s.spec.Timeout {
		s.stop(timedOut, s.spec.Grace)
	}
	if now >= s.lease.Stop {
		s.stop(leaseEnded, s.lease.Kill-now)
	}
}

// stop begins to stop the command; the first cause counts, and the shortest grace
// period. Without one SIGKILL comes at once.
func (s *supervisor) stop(cause exitCause, grace time.Duration) {
	killAt := session.BootClock() + grace
	if !s.stopping {
		s.stopping, s.cause, s.killAt = true, cause, killAt
		if grace > 0 {
			_ = syscall.Kill(-s.pid, syscall.SIGTERM)
		}
	}
	s.killAt = min(s.killAt, killAt)
}

// killRest kills all that is left of the command, and reports whether all is
// gone. Most commands leave nothing: that shows at once, without a look at the
// process table.
func (s *supervisor) killRest() bool {
	wait := time.Millisecond
	for end := session.BootClock() + killPatience; session.BootClock() < end; wait = superviseTick {
		select {
		case ws := <-s.ended:
			s.status = &ws
			continue
		case <-s.allGone:
			s.takeStatus()
			if !groupOutlives(s.pid) {
				return true
			}
			killAll(s.pid)
			time.Sleep(superviseTick)
		case <-time.After(wait):
			killAll(s.pid)
		}
	}
	return false
}

// takeStatus notes how the command ended, if that is known and not noted yet.
func (s *supervisor) takeStatus() {
	select {
	case ws := <-s.ended:
		s.status = &ws
	default:
	}
}
