package agent

import (
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A container often has less than its machine: its control group (cgroup) bounds CPU
// and memory, and those around it may bound them further. Version 2 has one tree,
// version 1 one for each resource. A path that is another one inside the container
// than /proc says is looked for as far up as it is there.

// limits are what control groups allow: thousandths of a core, and bytes; 0 for no
// limit.
type limits struct {
	cpuMillis, memoryBytes int64
}

// ownLimits are those of this process; none where there are no control groups.
func ownLimits() limits { return cgroupLimits(os.DirFS("/")) }

func cgroupLimits(root fs.FS) (l limits) {
	for line := range strings.Lines(readText(root, "proc/self/cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		controllers, group := strings.Split(parts[1], ","), parts[2]
		switch {
		case parts[1] == "":
			l.add(up(root, "sys/fs/cgroup", group, limitsV2))
		case slices.Contains(controllers, "cpu"):
			l.add(up(root, "sys/fs/cgroup/"+parts[1], group, limitsV1))
			l.add(up(root, "sys/fs/cgroup/cpu", group, limitsV1))
		case slices.Contains(controllers, "memory"):
			l.add(up(root, "sys/fs/cgroup/memory", group, limitsV1))
		}
	}
	return l
}

// up is the least that a group and those around it allow.
func up(root fs.FS, mount, group string, read func(root fs.FS, dir string) limits) (l limits) {
	for at := path.Clean("/" + group); ; at = path.Dir(at) {
		l.add(read(root, path.Join(mount, at)))
		if at == "/" {
			return l
		}
	}
}

// add takes in other limits that hold too.
func (l *limits) add(o limits) {
	l.cpuMillis = least(l.cpuMillis, o.cpuMillis)
	l.memoryBytes = least(l.memoryBytes, o.memoryBytes)
}

// least is the smaller of two limits, of which 0 is none.
func least(a, b int64) int64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// limitsV2 reads "quota period" in microseconds, or "max period", and bytes or "max".
func limitsV2(root fs.FS, dir string) (l limits) {
	if f := strings.Fields(readText(root, dir+"/cpu.max")); len(f) == 2 {
		l.cpuMillis = cpuLimit(number(f[0]), number(f[1]))
	}
	l.memoryBytes = number(readText(root, dir+"/memory.max"))
	return l
}

// limitsV1 reads a quota of -1 for none, and a number of bytes that is nearly 2^63
// for none.
func limitsV1(root fs.FS, dir string) (l limits) {
	l.cpuMillis = cpuLimit(number(readText(root, dir+"/cpu.cfs_quota_us")), number(readText(root, dir+"/cpu.cfs_period_us")))
	if n := number(readText(root, dir+"/memory.limit_in_bytes")); n < math.MaxInt64>>1 {
		l.memoryBytes = n
	}
	return l
}

func cpuLimit(quotaUs, periodUs int64) int64 {
	if quotaUs <= 0 || periodUs <= 0 || quotaUs > math.MaxInt64/1000 {
		return 0
	}
	return max(quotaUs*1000/periodUs, 1)
}

// number is 0 for what is none, or is negative.
func number(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// readText is the content of a file, "" if it cannot be read.
func readText(root fs.FS, name string) string {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return string(text)
}
