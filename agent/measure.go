package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// ownCPUMillis is what of the machine's CPU this process may use: all cores, or what its
// control group allows, in thousandths of a core.
func ownCPUMillis() int64 {
	return least(int64(runtime.NumCPU())*1000, ownLimits().cpuMillis)
}

// freeDisk is what is free where a directory is, or would be made.
func freeDisk(ctx context.Context, dir string) (int64, error) {
	for {
		u, err := disk.UsageWithContext(ctx, dir)
		parent := filepath.Dir(dir)
		if err == nil {
			return clampInt64(u.Free), nil
		}
		if parent == dir || !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("measure the disk at %s: %w: give --disk", dir, err)
		}
		dir = parent
	}
}

// capacity is what the machine has, or what of it the process's control group allows:
// all cores and all memory.
func capacity(ctx context.Context) (cpuMillis, memoryBytes int64, err error) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("measure memory: %w: give --memory", err)
	}
	return ownCPUMillis(), least(clampInt64(m.Total), ownLimits().memoryBytes), nil
}

// usage is what is in use now; CPU since the call before, by all processes. What
// cannot be measured is 0: a heartbeat must not fail for it.
func usage(ctx context.Context) *controlplanev1.NodeUsage {
	u := &controlplanev1.NodeUsage{}
	if p, err := cpu.PercentWithContext(ctx, 0, false); err == nil && len(p) == 1 {
		u.CpuMillis = int64(math.Max(0, p[0]) * 10 * float64(runtime.NumCPU()))
	}
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		u.MemoryBytes = clampInt64(m.Used)
	}
	return u
}

func clampInt64(n uint64) int64 {
	return int64(min(n, math.MaxInt64))
}
