package agent

import (
	"context"
	"fmt"
	"math"
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/mem"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// capacity is what the machine has: all cores and all memory.
func capacity(ctx context.Context) (cpuMillis, memoryBytes int64, err error) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("measure memory: %w: give --memory", err)
	}
	return int64(runtime.NumCPU()) * 1000, clampInt64(m.Total), nil
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
