package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/session"
)

// Config is what an agent needs to know. Zero values stand for the defaults named.
type Config struct {
	// ControlPlane is required.
	ControlPlane ControlPlane
	// Name is the node's id: 1 to 63 letters, digits, '.', '_' or '-'. Required.
	Name string
	// Slots is how many tasks run at once, 1 to 10,000; the number of cores, rounded up.
	Slots int
	// CPUMillis and MemoryBytes are what tasks may reserve; all of the machine, or what
	// the agent's control group allows.
	CPUMillis, MemoryBytes int64
	// DiskBytes is disk that tasks may reserve; what is free at WorkDir at the start.
	DiskBytes int64
	// Custom are numbers of whatever else tasks may reserve, by name: at most 32 names
	// of 1 to 63 letters, digits, '.', '_' or '-', 1 to 10^9 each.
	Custom map[string]int64
	// GPUs are those to offer: "all" (the default) that nvidia-smi lists, "none", or
	// indexes such as "0,1".
	GPUs string
	// Labels are at most 32 pairs: keys 1 to 63 bytes, values at most 256.
	Labels map[string]string
	// Provider, Region, Zone and InstanceType say where the machine is, each in at
	// most 63 bytes.
	Provider, Region, Zone, InstanceType string
	// Spot says that the machine can be taken away at short notice.
	Spot bool
	// TerminationFile is a file that appears when the machine is about to be taken away,
	// with the time in it (RFC 3339), or empty for in 30 s: the node is drained then.
	TerminationFile string
	// PriceMicrosPerHour is in millionths of a US dollar, 0 to 10^12.
	PriceMicrosPerHour int64
	// WorkDir holds the directories of tasks that name none; a fresh directory that
	// is removed at the end.
	WorkDir string
	// LogDir, if set, keeps all that tasks print, each attempt in a file of its own,
	// TASK.ATTEMPT.log, which only this user can read. Nothing removes them.
	LogDir string
	// LogLimitBytes bounds each of these files, 1 to 2^60; 1 GiB.
	LogLimitBytes int64
	// StopGrace lies between SIGTERM and SIGKILL for a task that was cancelled or
	// exceeded its timeout, 0 to 10 min; 10 s. NoGrace stands for 0.
	StopGrace time.Duration
	// ShutdownGrace is the same for all tasks when the agent stops; 5 s, so that it
	// ends within 8 s.
	ShutdownGrace time.Duration
	// Version is that of the binary.
	Version string
	// Supervisor is the command that calls Supervise; this binary with the argument
	// "supervise".
	Supervisor []string
	// Logger receives what happens; slog.Default.
	Logger *slog.Logger
}

const (
	// NoGrace is a grace period of 0: SIGKILL at once.
	NoGrace = time.Nanosecond

	defaultStopGrace     = 10 * time.Second
	defaultShutdownGrace = 5 * time.Second
	maxGrace             = 10 * time.Minute
	defaultLogLimit      = 1 << 30
	maxSlots             = 10_000
	maxPriceMicros       = 1_000_000_000_000
	maxCPUMillis         = 1_000_000_000
	maxMemoryBytes       = 1 << 60
	maxGPUs              = 1024
	maxLabels            = 32
	maxCustom            = 32
	maxCustomCount       = 1_000_000_000
)

func (c Config) withDefaults() Config {
	if c.Slots == 0 {
		c.Slots = int((ownCPUMillis() + 999) / 1000)
	}
	if c.GPUs == "" {
		c.GPUs = gpusAll
	}
	if c.StopGrace == 0 {
		c.StopGrace = defaultStopGrace
	}
	if c.ShutdownGrace == 0 {
		c.ShutdownGrace = defaultShutdownGrace
	}
	if c.LogLimitBytes == 0 {
		c.LogLimitBytes = defaultLogLimit
	}
	if abs, err := filepath.Abs(c.LogDir); err == nil && c.LogDir != "" {
		c.LogDir = abs
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if exe, err := os.Executable(); err == nil && len(c.Supervisor) == 0 {
		c.Supervisor = []string{exe, "supervise"}
	}
	if abs, err := filepath.Abs(c.WorkDir); err == nil && c.WorkDir != "" {
		c.WorkDir = abs
	}
	return c
}

// Validate reports every mistake at once, each by the name of its flag.
func (c Config) Validate() error {
	c = c.withDefaults()
	var all []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			all = append(all, fmt.Errorf(format, args...))
		}
	}
	within := func(flag string, n, low, high int64, unit string) {
		check(n >= low && n <= high, "%s %d%s: give %d to %d", flag, n, unit, low, high)
	}
	check(c.ControlPlane != nil, "--server: give the URL of at least one member")
	check(len(c.Supervisor) > 0, "this program cannot find its own file, which it runs as the supervisor of each task")
	check(session.Name.MatchString(c.Name), "--name %q: give 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit", c.Name)
	within("--slots", int64(c.Slots), 1, maxSlots, "")
	within("--cpu", c.CPUMillis, 0, maxCPUMillis, " thousandths of a core")
	within("--memory", c.MemoryBytes, 0, maxMemoryBytes, " bytes")
	within("--disk", c.DiskBytes, 0, maxMemoryBytes, " bytes")
	check(len(c.Custom) <= maxCustom, "--resource: %d are given, at most %d may be", len(c.Custom), maxCustom)
	for name, n := range c.Custom {
		check(session.Name.MatchString(name), "--resource %s=: give it a name of 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit", name)
		within("--resource "+name+"=", n, 1, maxCustomCount, "")
	}
	within("--log-limit", c.LogLimitBytes, 1, maxMemoryBytes, " bytes")
	within("--price-per-hour", c.PriceMicrosPerHour, 0, maxPriceMicros, " millionths of a dollar")
	check(c.StopGrace > 0 && c.StopGrace <= maxGrace, "--stop-grace %v: give 0s to %v", c.StopGrace, maxGrace)
	check(c.ShutdownGrace > 0 && c.ShutdownGrace <= maxGrace, "--shutdown-grace %v: give 0s to %v", c.ShutdownGrace, maxGrace)
	check(len(c.Labels) <= maxLabels, "--label: %d labels are given, at most %d may be", len(c.Labels), maxLabels)
	for k, v := range c.Labels {
		check(len(k) >= 1 && len(k) <= 63, "--label %s=: its key has %d bytes: give 1 to 63", k, len(k))
		check(len(v) <= 256, "--label %s=…: its value has %d bytes: give at most 256", k, len(v))
	}
	for _, f := range []struct{ flag, value string }{
		{"--provider", c.Provider}, {"--region", c.Region}, {"--zone", c.Zone}, {"--instance-type", c.InstanceType},
	} {
		check(len(f.value) <= 63, "%s %s: has %d bytes: give at most 63", f.flag, f.value, len(f.value))
	}
	_, err := parseGPUChoice(c.GPUs)
	check(err == nil, "--gpus %s: %w", c.GPUs, err)
	return errors.Join(all...)
}

// spec is what the node says of itself.
func (c Config) spec(ctx context.Context) (*controlplanev1.NodeSpec, error) {
	gpus, err := findGPUs(ctx, c.GPUs)
	if err != nil {
		return nil, fmt.Errorf("--gpus %s: %w", c.GPUs, err)
	}
	if len(gpus) > maxGPUs {
		return nil, fmt.Errorf("--gpus %s: %d are more than %d: give the indexes of fewer", c.GPUs, len(gpus), maxGPUs)
	}
	cpuMillis, memoryBytes := c.CPUMillis, c.MemoryBytes
	if cpuMillis == 0 || memoryBytes == 0 {
		allCPU, allMemory, err := capacity(ctx)
		if err != nil {
			return nil, err
		}
		if cpuMillis == 0 {
			cpuMillis = allCPU
		}
		if memoryBytes == 0 {
			memoryBytes = allMemory
		}
	}
	diskBytes := c.DiskBytes
	if diskBytes == 0 {
		if diskBytes, err = freeDisk(ctx, cmp.Or(c.WorkDir, os.TempDir())); err != nil {
			return nil, err
		}
	}
	return &controlplanev1.NodeSpec{
		Slots:      int32(c.Slots),                                                                                                                            //nolint:gosec // validated
		Capacity:   &controlplanev1.Resources{CpuMillis: cpuMillis, MemoryBytes: memoryBytes, DiskBytes: diskBytes, Gpus: int32(len(gpus)), Custom: c.Custom}, //nolint:gosec // at most maxGPUs
		GpuDevices: gpus, Labels: c.Labels,
		Provider: c.Provider, Region: c.Region, Zone: c.Zone, InstanceType: c.InstanceType,
		Version: session.CutString(c.Version, 63), Spot: c.Spot, PriceMicrosPerHour: c.PriceMicrosPerHour, Exec: true,
	}, nil
}
