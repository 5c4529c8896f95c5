package agent

import (
	"fmt"
	"syscall"
	"time"

	"github.com/raft-control-plane/control-plane/internal/session"
)

// The agent talks to a supervisor in JSON, one value after the other: a jobSpec
// and then orders on the supervisor's standard input, events back on its
// descriptor 3. Times are on session.BootClock.

// jobSpec is what a supervisor is to run.
type jobSpec struct {
	Command []string
	// Env holds "KEY=VALUE", in bytes because an environment need not be UTF-8.
	Env [][]byte
	Dir string
	// Scratch is a directory to remove at the end; none if empty.
	Scratch string
	// ProgressFile is where the command may write its progress. The agent removes it, and
	// the supervisor where there is no agent any more.
	ProgressFile string
	// Timeout is the longest run time; none if 0. Grace lies between SIGTERM and
	// SIGKILL when it is exceeded.
	Timeout, Grace time.Duration
	Lease          session.Deadlines
}

// order is what the agent tells a supervisor. Closing the pipe is the order to
// kill everything at once.
type order struct {
	Lease *session.Deadlines `json:",omitempty"`
	Stop  *stopOrder         `json:",omitempty"`
}

// stopOrder is to stop the process, by SIGKILL after the grace period.
type stopOrder struct {
	Grace time.Duration
}

// event is what a supervisor tells the agent.
type event struct {
	Started int   `json:",omitempty"` // process id, which is the id of its group too
	Exit    *exit `json:",omitempty"`
}

// exit is how a process ended.
type exit struct {
	// Cause is why the supervisor stopped it; endedByItself if it did not.
	Cause exitCause
	// StartError is why it could not be started.
	StartError string `json:",omitempty"`
	Code       int
	Signal     syscall.Signal `json:",omitempty"` // that ended it; 0 if it exited
	// Survivors is true if some of its processes could not be killed in time.
	Survivors bool `json:",omitempty"`
}

// exitCause is why a process was stopped.
type exitCause string

const (
	endedByItself  exitCause = ""
	stoppedByOrder exitCause = "stopped"
	timedOut       exitCause = "timeout"
	leaseEnded     exitCause = "lease"
	// supervisorLost is set by the agent: the supervisor ended without a word.
	supervisorLost exitCause = "supervisor lost"
)

// describe says how a process ended that did not end well.
func (e exit) describe() string {
	switch {
	case e.StartError != "":
		return "cannot start: " + e.StartError
	case e.Signal != 0:
		return fmt.Sprintf("killed by signal %d (%s)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("exit status %d", e.Code)
}
