package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/session"
)

const (
	// maxGPUIndex and maxGPUModelBytes are limits of the contract.
	maxGPUIndex      = 1023
	maxGPUModelBytes = 128
	// gpuQueryTimeout bounds nvidia-smi, which hangs when a driver does.
	gpuQueryTimeout = 20 * time.Second
)

// findGPUs returns the GPUs to offer: "all" that nvidia-smi lists, "none", or the
// ones whose indexes are given. What is given is offered as it stands, so that
// devices of other makers can be offered too.
func findGPUs(ctx context.Context, choice string) ([]*controlplanev1.GpuDevice, error) {
	indexes, err := parseGPUChoice(choice)
	if err != nil || choice == gpusNone {
		return nil, err
	}
	listed, err := queryNvidiaSMI(ctx)
	if err == nil && len(listed) > 0 {
		listed = withMIG(listed, queryMIG(ctx))
	}
	if choice == gpusAll {
		return listed, err
	}
	var gpus []*controlplanev1.GpuDevice
	for _, index := range indexes { // what is known of them is worth having, no more
		gpus = append(gpus, gpuByIndex(listed, index))
	}
	return gpus, nil
}

const (
	gpusAll  = "all"
	gpusNone = "none"
)

// parseGPUChoice returns the indexes of a list such as "0,1"; nil for "all" and
// "none".
func parseGPUChoice(choice string) (indexes []int32, err error) {
	if choice == gpusAll || choice == gpusNone {
		return nil, nil
	}
	for item := range strings.SplitSeq(choice, ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(item), 10, 32)
		if err != nil || n < 0 || n > maxGPUIndex {
			return nil, fmt.Errorf("give %s, %s, or indexes from 0 to %d such as 0,1", gpusAll, gpusNone, maxGPUIndex)
		}
		if slices.Contains(indexes, int32(n)) {
			return nil, fmt.Errorf("GPU %d is given twice", n)
		}
		indexes = append(indexes, int32(n))
	}
	return indexes, nil
}

func gpuByIndex(gpus []*controlplanev1.GpuDevice, index int32) *controlplanev1.GpuDevice {
	for _, g := range gpus {
		if g.GetIndex() == index {
			return g
		}
	}
	return &controlplanev1.GpuDevice{Index: index}
}

// queryNvidiaSMI asks the driver for its devices. No nvidia-smi means none. One
// that fails is an error: a GPU machine without its GPUs would fail silently.
func queryNvidiaSMI(ctx context.Context) ([]*controlplanev1.GpuDevice, error) {
	ctx, cancel := context.WithTimeout(ctx, gpuQueryTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, nil
	case err != nil && strings.Contains(string(out), "No devices were found"):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("nvidia-smi: %w: %s; repair the driver, or give --gpus none", err, firstLine(string(out)))
	}
	return parseNvidiaSMI(string(out))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// parseNvidiaSMI reads lines of "index, name, memory in MiB". The memory of some
// devices, such as those that share the machine's, is "[N/A]": 0 then.
func parseNvidiaSMI(out string) (gpus []*controlplanev1.GpuDevice, err error) {
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line == "No devices were found" {
			continue
		}
		first, last := strings.Index(line, ","), strings.LastIndex(line, ",")
		if first == last { // a name may hold commas, so count from both ends
			return nil, fmt.Errorf("nvidia-smi: cannot read %q: want index, name, memory; give --gpus with a list of indexes", line)
		}
		index, err := strconv.ParseInt(strings.TrimSpace(line[:first]), 10, 32)
		if err != nil || index < 0 || index > maxGPUIndex {
			return nil, fmt.Errorf("nvidia-smi: cannot read the index in %q; give --gpus with a list of indexes", line)
		}
		mib, err := strconv.ParseInt(strings.TrimSpace(line[last+1:]), 10, 32)
		if err != nil || mib < 0 {
			mib = 0
		}
		gpus = append(gpus, &controlplanev1.GpuDevice{
			Index: int32(index), Model: session.CutString(strings.TrimSpace(line[first+1:last]), maxGPUModelBytes), MemoryBytes: mib << 20,
		})
	}
	return gpus, lines.Err()
}
