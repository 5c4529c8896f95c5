package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processes are those that a system consists of.
type processes struct {
	all []*exec.Cmd
	log string // what they say, for when they fail
}

// start starts a process that writes to the log of its directory. The user, if it is not
// "", is whom it runs as.
func (p *processes) start(dir, as string, args ...string) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // this program's own directory
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the process has it too
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	// A signal to this program's group, such as Ctrl-C, is for this program, which ends them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if as != "" {
		if cmd.SysProcAttr.Credential, err = credential(as); err != nil {
			return err
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.all = append(p.all, cmd)
	return nil
}

// stop ends them by a signal; after ten seconds they are killed.
func (p *processes) stop(signal syscall.Signal) {
	for _, cmd := range p.all {
		_ = cmd.Process.Signal(signal)
	}
	for _, cmd := range p.all {
		killer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		killer.Stop()
	}
	p.all = nil
}

// said is the end of what they wrote.
func (p *processes) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	return string(text[max(0, len(text)-2000):])
}

// cpu is what they and all that they have started have used, also what has ended since.
func (p *processes) cpu() (total time.Duration) {
	children := map[int][]int{}
	used := map[int]time.Duration{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid, parent, spent := parseStat(text)
		used[pid] = spent
		children[parent] = append(children[parent], pid)
	}
	var add func(pid int)
	add = func(pid int) {
		total += used[pid]
		for _, c := range children[pid] {
			add(c)
		}
	}
	for _, cmd := range p.all {
		add(cmd.Process.Pid)
	}
	return total
}

// parseStat reads /proc/PID/stat: see proc_pid_stat(5).
func parseStat(text []byte) (pid, parent int, used time.Duration) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all that Go runs on
	name := bytes.LastIndexByte(text, ')')
	fields := bytes.Fields(text[name+1:])
	if name < 0 || len(fields) < 15 {
		return 0, 0, 0
	}
	number := func(b []byte) int { n, _ := strconv.Atoi(string(b)); return n }
	pid = number(bytes.Fields(text)[0])
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		used += time.Duration(number(f)) * tick
	}
	return pid, number(fields[1]), used
}

func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// freePorts are ports of loopback that nobody listens on.
func freePorts(n int) (ports []int, err error) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close() // not before all are found, or the same would come twice
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// find returns a program that was built into bin, or errMissing with what to do.
func (e *env) find(name string) (string, error) {
	path := filepath.Join(e.bin, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is %w: make bench/peers builds it", path, errMissing)
	}
	return path, nil
}

// output is what a program prints, on one line.
func output(args ...string) string {
	text, _ := exec.Command(args[0], args[1:]...).Output() // a version that is not known is no reason to stop
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}

// own gives a directory to a user.
func own(dir, name string) error {
	c, err := credential(name)
	if err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(c.Uid), int(c.Gid))
	})
}
