package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/session"
)

const (
	// outputPatience is how long the end of the output may take to arrive once the
	// process has ended. Only a process that escaped could hold it up.
	outputPatience = 2 * time.Second
	// ordersPatience is how long a supervisor may take to read its orders, and
	// how long after a deadline the agent waits before it kills the supervisor
	// itself.
	ordersPatience = 10 * time.Second
)

// process is the agent's side of a supervisor and the command under it.
type process struct {
	cmd            *exec.Cmd
	orders         *os.File
	events         *os.File
	output         *output
	progress       progressFile
	readers        sync.WaitGroup
	stdout, stderr *os.File

	mu        sync.Mutex
	pending   order         // not written yet; newer ones are merged into it
	wake      chan struct{} // a signal that something is pending
	watchdog  *time.Timer
	stopTimer *time.Timer   // nil unless it was told to stop
	killAt    time.Duration // if it was
	over      bool

	gone chan struct{} // closed when the supervisor has ended
}

// startProcess starts a supervisor and hands it the command, whose output goes to out. The supervisor runs
// in a session of its own, with next to no environment: the agent's may hold the
// token.
func startProcess(supervisor []string, spec jobSpec, out *output) (*process, error) {
	p := &process{output: out, wake: make(chan struct{}, 1), gone: make(chan struct{}), progress: progressFile{path: spec.ProgressFile}}
	p.cmd = exec.Command(supervisor[0], supervisor[1:]...) //nolint:gosec // it is this binary
	p.cmd.Dir = "/"
	p.cmd.Env = []string{"GOMAXPROCS=1"}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	theirs, err := p.connect()
	defer closeAll(theirs...)
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		closeAll(p.orders, p.events, p.stdout, p.stderr)
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	p.watchdog = time.AfterFunc(spec.Lease.Kill-session.BootClock()+ordersPatience, p.destroy)
	go p.write(spec)
	p.readers.Go(func() { drain(p.stdout, p.output.stdout) })
	p.readers.Go(func() { drain(p.stderr, p.output.stderr) })
	return p, nil
}

// connect makes the pipes and returns the supervisor's ends of them.
func (p *process) connect() (theirs []*os.File, err error) {
	pipe := func(ours, their **os.File, readOurs bool) {
		if err != nil {
			return
		}
		var r, w *os.File
		if r, w, err = os.Pipe(); err != nil {
			return
		}
		if !readOurs {
			r, w = w, r
		}
		*ours, *their = r, w
		theirs = append(theirs, w)
	}
	var in, out, errs, events *os.File
	pipe(&p.orders, &in, false)
	pipe(&p.stdout, &out, true)
	pipe(&p.stderr, &errs, true)
	pipe(&p.events, &events, true)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = in, out, errs
	p.cmd.ExtraFiles = []*os.File{events} // eventsFD
	return theirs, err
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

func drain(f *os.File, take func([]byte)) {
	buf := make([]byte, 32<<10)
	for {
		n, err := f.Read(buf)
		take(buf[:n])
		if err != nil {
			return
		}
	}
}

// write writes the specification and then the orders as they come, so that a
// supervisor that does not read holds up nobody else; it is killed.
func (p *process) write(spec jobSpec) {
	out := json.NewEncoder(p.orders)
	_ = p.orders.SetWriteDeadline(time.Now().Add(ordersPatience))
	if out.Encode(spec) != nil {
		p.destroy()
		return
	}
	for range p.wake {
		p.mu.Lock()
		o := p.pending
		p.pending = order{}
		p.mu.Unlock()
		_ = p.orders.SetWriteDeadline(time.Now().Add(ordersPatience))
		if out.Encode(o) != nil {
			p.destroy()
			return
		}
	}
}

// Extend implements session.Running: it moves the deadlines of the process.
func (p *process) Extend(lease session.Deadlines) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	p.watchdog.Reset(lease.Kill - session.BootClock() + ordersPatience)
	p.pending.Lease = &lease
	p.signal()
}

// stop tells the process to end, and kills it after the grace period. Of several
// stops the one that kills first counts.
func (p *process) Stop(grace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	killAt := session.BootClock() + grace
	if p.over || p.stopTimer != nil && killAt >= p.killAt {
		return
	}
	if p.stopTimer != nil {
		p.stopTimer.Stop()
	}
	p.killAt = killAt
	p.stopTimer = time.AfterFunc(grace+killPatience+ordersPatience, p.destroy)
	p.pending.Stop = &stopOrder{Grace: grace}
	p.signal()
}

// Progress implements session.Progressor.
func (p *process) Progress() *controlplanev1.Progress { return p.progress.read() }

func (p *process) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// destroy kills a supervisor that does not do its work, stopped by somebody's
// SIGSTOP for instance. wait then kills what is left.
func (p *process) destroy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		_ = p.cmd.Process.Kill()
	}
}

// wait returns how the process ended, once nothing of it is left.
func (p *process) wait() exit {
	e := p.follow()
	p.mu.Lock()
	p.over = true
	p.watchdog.Stop()
	if p.stopTimer != nil {
		p.stopTimer.Stop()
	}
	close(p.wake)
	p.mu.Unlock()
	go func() { // it may still be removing the scratch directory
		_ = p.cmd.Wait()
		closeAll(p.orders)
		close(p.gone)
	}()
	until := time.Now().Add(outputPatience)
	_ = p.stdout.SetReadDeadline(until)
	_ = p.stderr.SetReadDeadline(until)
	p.readers.Wait()
	p.output.close()
	closeAll(p.events, p.stdout, p.stderr)
	p.progress.end()
	return e
}

// follow reads events until the process has ended. If the supervisor ends without
// a word, somebody killed it: then the kernel has killed the command, and the
// agent kills its group.
func (p *process) follow() exit {
	in, group := json.NewDecoder(p.events), 0
	for {
		var ev event
		switch err := in.Decode(&ev); {
		case err != nil:
			_ = p.cmd.Process.Kill()
			if group > 0 {
				_ = syscall.Kill(-group, syscall.SIGKILL)
			}
			return exit{Cause: supervisorLost, StartError: lostReason(err)}
		case ev.Exit != nil:
			return *ev.Exit
		}
		group = ev.Started
	}
}

func lostReason(err error) string {
	if errors.Is(err, io.EOF) {
		return "its supervisor process ended unexpectedly"
	}
	return "its supervisor process: " + err.Error()
}
