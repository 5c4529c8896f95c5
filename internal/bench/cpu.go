package bench

import (
	"os"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// cpuTime is the CPU time that this process and others have used. One that is gone, or
// that the system does not tell of, counts for nothing.
func cpuTime(pids []int32) (total time.Duration) {
	for _, pid := range append([]int32{int32(os.Getpid())}, pids...) { //nolint:gosec // a process id
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
