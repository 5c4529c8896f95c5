package agent

import (
	"testing"
	"testing/fstest"
)

// The files are as kernels write them: of a container with --cpus 1.5 --memory 512m
// (version 2 and 1), of a systemd service within a slice, of Kubernetes, and of a
// machine without limits.
func TestCgroupLimits(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  limits
	}{
		"no control groups": {},
		"version 2, in a container": {map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n", "sys/fs/cgroup/memory.max": "536870912\n",
		}, limits{1500, 512 << 20}},
		"version 2, without limits": {map[string]string{
			"proc/self/cgroup": "0::/user.slice/session-1.scope\n", "sys/fs/cgroup/user.slice/session-1.scope/cpu.max": "max 100000\n",
			"sys/fs/cgroup/user.slice/session-1.scope/memory.max": "max\n",
		}, limits{}},
		"version 2, the slice allows less than the service": {map[string]string{
			"proc/self/cgroup": "0::/work.slice/agent.service\n", "sys/fs/cgroup/work.slice/agent.service/cpu.max": "800000 100000\n",
			"sys/fs/cgroup/work.slice/cpu.max": "400000 100000\n", "sys/fs/cgroup/work.slice/memory.max": "8589934592\n", "sys/fs/cgroup/work.slice/agent.service/memory.max": "max\n",
		}, limits{4000, 8 << 30}},
		"version 2, a path from outside the container": {map[string]string{
			"proc/self/cgroup": "0::/../../kubepods/pod1\n", "sys/fs/cgroup/cpu.max": "50000 100000\n",
		}, limits{500, 0}},
		"version 1, in a container": {map[string]string{
			"proc/self/cgroup":                                "12:memory:/docker/abc\n5:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":      "150000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":     "100000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":      "536870912\n",
			"sys/fs/cgroup/memory/docker/memory.stat":         "cache 0\n",
			"sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period": "\n",
		}, limits{1500, 512 << 20}},
		"version 1, without limits": {map[string]string{
			"proc/self/cgroup": "4:memory:/\n3:cpu,cpuacct:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, limits{}},
		"less than a thousandth of a core": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1 1000000\n"}, limits{1, 0}},
		"files that hold something else":   {map[string]string{"proc/self/cgroup": "x\n0::/\n", "sys/fs/cgroup/cpu.max": "much\n", "sys/fs/cgroup/memory.max": "-5\n"}, limits{}},
	} {
		root := fstest.MapFS{}
		for file, text := range c.files {
			root[file] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := cgroupLimits(root); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestSpecMeasuresTheMachine(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no nvidia-smi
	dir := t.TempDir() + "/not/made/yet"
	spec, err := (Config{Name: "n", WorkDir: dir}).withDefaults().spec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := spec.GetCapacity(); c.GetCpuMillis() < 1 || c.GetMemoryBytes() < 1<<20 || c.GetDiskBytes() < 1<<20 || spec.GetSlots() < 1 {
		t.Errorf("measured %v, %d slots", c, spec.GetSlots())
	}
	spec, err = (Config{Name: "n", Slots: 3, CPUMillis: 1, MemoryBytes: 2, DiskBytes: 3}).withDefaults().spec(t.Context())
	if c := spec.GetCapacity(); err != nil || c.GetCpuMillis() != 1 || c.GetMemoryBytes() != 2 || c.GetDiskBytes() != 3 || spec.GetSlots() != 3 {
		t.Errorf("what is given does not count: %v, %v", spec, err)
	}
}
