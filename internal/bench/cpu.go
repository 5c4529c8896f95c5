package bench

import (
	"os"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// CPUTime is the CPU time that processes have used. One that is gone, or that the system
// does not tell of, counts for nothing.
func CPUTime(pids ...int32) (total time.Duration) {
	for _, pid := range pids {
		p, err := process.NewProcess(pid)
		if err != nil {
			continue
		}
		if t, err := p.Times(); err == nil {
			total += time.Duration((t.User + t.System) * float64(time.Second))
		}
	}
	return total
}

func ownCPUTime() time.Duration { return CPUTime(int32(os.Getpid())) } //nolint:gosec // a process id

// memory is the most that one of the processes holds, in MiB.
func memory(pids []int32) (most float64) {
	for _, pid := range pids {
		p, err := process.NewProcess(pid)
		if err != nil {
			continue
		}
		if m, err := p.MemoryInfo(); err == nil {
			most = max(most, float64(m.RSS)/(1<<20))
		}
	}
	return most
}
