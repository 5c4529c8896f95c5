//go:build !linux

package agent

import "syscall"

// becomeReaper does nothing: only Linux lets a process adopt its orphaned
// descendants. Here a process that begins a session of its own gets away.
func becomeReaper() error { return nil }

// commandAttr gives the command a session of its own.
func commandAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true}
}

// groupAlive reports whether the command's process group has a member.
func groupAlive(pgid int) bool {
	return syscall.Kill(-pgid, 0) == nil
}

// groupOutlives reports whether members of the group live on when the supervisor
// has no children left: orphans are nobody's children here.
func groupOutlives(pgid int) bool { return groupAlive(pgid) }

// killAll kills the command's process group.
func killAll(pgid int) {
	_ = syscall.Kill(-pgid, syscall.SIGKILL)
}
