package e2e

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestBench runs each phase for a moment, on members that it starts: figures are there, and
// nothing is left behind.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(raftNode, "bench", "--members", "3", "--duration", "1s", "--callers", "8", "--slots", "8", "--dir", dir, "-o", "json")
	cmd.Env = cleanEnv()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var results []struct {
		Phase      string
		Operations int64
		P50        float64 `json:"p50_ms"`
		CPU        float64 `json:"cpu_us_per_operation"`
		Errors     int64
	}
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	var phases []string
	for _, r := range results {
		phases = append(phases, r.Phase)
		if r.Operations == 0 || r.P50 <= 0 || r.CPU <= 0 || r.Errors != 0 {
			t.Errorf("%+v", r)
		}
	}
	if got := strings.Join(phases, " "); got != "fsync submit-1 submit batch nothing get cycle dispatch" {
		t.Errorf("phases: %s", got)
	}
	if left, err := exec.Command("ls", "-A", dir).Output(); err != nil || len(left) != 0 {
		t.Errorf("left behind: %s, %v", left, err)
	}
}

// TestBenchOfTooMuch offers more than can be done for a moment, and looks at what tasks take:
// whatever the figures are, all of what was offered is accounted for, and no node is lost.
func TestBenchOfTooMuch(t *testing.T) {
	cmd := exec.Command(raftNode, "bench", "--duration", "1s", "--callers", "8", "--slots", "8", "--tasks", "2000",
		"--phases", "overload,flood,memory,disk,backlog", "--dir", t.TempDir(), "-o", "json")
	var errOut strings.Builder
	cmd.Env, cmd.Stderr = cleanEnv(), &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errOut.String())
	}
	var results []struct {
		Phase    string
		Seconds  float64
		Overload struct {
			Peak     float64 `json:"peak_per_second"`
			Offered  float64 `json:"offered_per_second"`
			Accepted int64   `json:"accepted_tasks"`
			Refused  int64   `json:"refused_tasks"`
			Failed   int64   `json:"failed_tasks"`
			Nodes    int     `json:"nodes"`
			Lost     int     `json:"nodes_lost"`
		}
		Size struct {
			Tasks  int
			Memory float64 `json:"memory_mib"`
			Disk   float64 `json:"disk_bytes_per_task"`
		}
		Backlog struct {
			Few    int     `json:"few_tasks"`
			Many   int     `json:"many_tasks"`
			Growth float64 `json:"growth"`
		}
	}
	if err := json.Unmarshal(out, &results); err != nil || len(results) != 5 {
		t.Fatalf("%v in %s", err, out)
	}
	for _, r := range results[:2] {
		o := r.Overload
		offered := math.Round(o.Offered * r.Seconds)
		if o.Peak <= 0 || o.Accepted == 0 || float64(o.Accepted+o.Refused+o.Failed) != offered || o.Nodes != 100 || o.Lost != 0 {
			t.Errorf("%s: of %.0f tasks: %+v", r.Phase, offered, o)
		}
	}
	if b := results[4].Backlog; b.Few != 20 || b.Many != 2000 || b.Growth <= 0 {
		t.Errorf("backlog: %+v", b)
	}
	for i, r := range results[2:4] {
		if r.Size.Tasks != []int{2000, 200}[i] || r.Size.Memory <= 0 || r.Size.Disk <= 0 {
			t.Errorf("%s: %+v", r.Phase, r.Size)
		}
	}
}

func TestMistakesOfBench(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"--members 0 --callers 0 --payload 1 --phases sing --duration 1ms", []string{"--members 0: give 1 to 9", "--callers 0", "--payload 1", "--phases sing", "--duration 1ms"}},
		{"--members 3 --server 127.0.0.1:1", []string{"give one of them"}},
		{"--dir /nowhere", []string{"--dir"}},
		{"--scale 100", []string{"--scale 100: give 1 to"}},
		{"--scale 1x1x", []string{"--scale 1x1x: give"}},
		{"--scale 1x1 --placement pile --task-duration 2h", []string{"--placement pile: give spread", "--task-duration 2h0m0s: give 0 to 1h"}},
	} {
		cmd := exec.Command(raftNode, append([]string{"bench"}, strings.Fields(c.args)...)...)
		cmd.Env = cleanEnv()
		out, err := cmd.CombinedOutput()
		if err == nil || !containsAll(string(out), c.want) {
			t.Errorf("bench %s: %v\n%s", c.args, err, out)
		}
	}
}

// TestBenchAtScale runs small fleets that are simulated. The command itself looks whether each
// task is recorded, and each node has kept its lease.
func TestBenchAtScale(t *testing.T) {
	for _, args := range []string{"", "--placement binpack --task-duration 200ms"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(raftNode, append([]string{"bench", "--scale", "3000x20", "--dir", t.TempDir(), "-o", "json"}, strings.Fields(args)...)...)
			cmd.Env = cleanEnv()
			out, err := cmd.Output()
			var res struct {
				Tasks, Nodes                                              int
				SubmitSeconds, CompleteSeconds, TasksPerSecond, MemoryMiB float64
				TasksPerCall, CPUMicros, MemberCPUMicros                  float64
			}
			if err == nil {
				err = json.Unmarshal(out, &res)
			}
			if err != nil || res.Tasks != 3000 || res.Nodes != 20 || res.CompleteSeconds < res.SubmitSeconds || res.SubmitSeconds <= 0 || res.TasksPerSecond <= 0 ||
				res.MemoryMiB <= 0 || res.TasksPerCall < 1 || res.CPUMicros <= res.MemberCPUMicros || res.MemberCPUMicros <= 0 {
				t.Errorf("%v, %+v\n%s", err, res, out)
			}
		})
	}
}

// TestBenchEndsItsMembers interrupts a run: the members that it started end with it.
func TestBenchEndsItsMembers(t *testing.T) {
	dir := t.TempDir()
	p := newProcess(t, "bench", "bench", "--duration", "1h", "--phases", "submit", "--dir", dir).start()
	until(t, "the phase begins", func() bool { return strings.Contains(p.output(), "phase submit") })
	p.signal(syscall.SIGINT)
	p.wait()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(all) == 0 {
		t.Skip("this system does not list its processes under /proc")
	}
	for _, path := range all {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), dir) { // members name their directories
			t.Errorf("a process is left: %q", line)
		}
	}
}
