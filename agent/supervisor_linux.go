package agent

import (
	"bytes"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// becomeReaper makes the processes that the command orphans children of the
// supervisor, even those that began a session of their own: so none gets away.
func becomeReaper() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// commandAttr gives the command a session of its own, and has the kernel kill it
// if somebody kills the supervisor.
func commandAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// groupAlive reports whether the command's process group has a live member.
func groupAlive(pgid int) bool {
	for _, p := range descendants() {
		if p.group == pgid && !p.zombie {
			return true
		}
	}
	return false
}

// groupOutlives reports whether members of the group live on when the supervisor
// has no children left. Here they cannot: orphans are its children.
func groupOutlives(int) bool { return false }

// killAll kills every descendant of the supervisor. It goes by the process tree
// and not by the group: ids of processes that are gone may be given to others.
func killAll(int) {
	for _, p := range descendants() {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
}

// proc is a line of the process table.
type proc struct {
	pid, parent, group int
	zombie             bool
}

// descendants reads the processes below this one from /proc. One that is forked
// meanwhile may be missing: whoever wants all of them reads again.
func descendants() []proc {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]proc{}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := readProc(pid); ok {
				children[p.parent] = append(children[p.parent], p)
			}
		}
	}
	found := children[os.Getpid()]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found
}

// readProc reads /proc/PID/stat: "pid (name) state parent group …", where the
// name may hold anything.
func readProc(pid int) (proc, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	return parseProc(pid, b)
}

func parseProc(pid int, stat []byte) (proc, bool) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return proc{}, false
	}
	f := bytes.Fields(stat[i+1:])
	if len(f) < 3 {
		return proc{}, false
	}
	parent, err1 := strconv.Atoi(string(f[1]))
	group, err2 := strconv.Atoi(string(f[2]))
	state := f[0][0]
	return proc{pid: pid, parent: parent, group: group, zombie: state == 'Z' || state == 'X'}, err1 == nil && err2 == nil
}
