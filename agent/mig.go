package agent

import (
	"context"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Parts of a GPU (multi-instance GPUs, MIG) are devices of their own: CUDA names them
// by UUID only, and the GPU that they are parts of cannot be had whole. They get
// indexes from 100 on, ten for each GPU: 100, 101 … are parts of GPU 0, 110 … of GPU 1.

const (
	migFirstIndex = 100
	migPerGPU     = 10
)

// queryMIG lists devices and their parts. What it cannot list is not there.
func queryMIG(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, gpuQueryTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nvidia-smi", "-L")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return string(out)
}

var (
	listedGPU = regexp.MustCompile(`^GPU ([0-9]+): `)
	listedMIG = regexp.MustCompile(`^\s+MIG (\S+)\s+Device\s+([0-9]+): \(UUID: (\S+)\)`)
	migGB     = regexp.MustCompile(`\.([0-9]+)gb`)
)

// withMIG puts the parts that nvidia-smi -L lists in the place of their GPUs.
func withMIG(gpus []*controlplanev1.GpuDevice, list string) []*controlplanev1.GpuDevice {
	parts := map[int32][]*controlplanev1.GpuDevice{}
	of := int32(-1)
	for line := range strings.Lines(list) {
		if m := listedGPU.FindStringSubmatch(line); m != nil {
			of = smallNumber(m[1])
			continue
		}
		m := listedMIG.FindStringSubmatch(line)
		if m == nil || of < 0 {
			continue
		}
		index := migFirstIndex + of*migPerGPU + smallNumber(m[2])
		whole := gpuByIndex(gpus, of)
		if index > maxGPUIndex || smallNumber(m[2]) >= migPerGPU {
			continue
		}
		parts[of] = append(parts[of], &controlplanev1.GpuDevice{
			Index: index, Uuid: m[3], Model: cutModel(whole.GetModel(), " MIG "+m[1]), MemoryBytes: migMemory(m[1], whole),
		})
	}
	var out []*controlplanev1.GpuDevice
	for _, g := range gpus {
		if p := parts[g.GetIndex()]; len(p) > 0 {
			out = append(out, p...)
		} else {
			out = append(out, g)
		}
	}
	slices.SortStableFunc(out, func(a, b *controlplanev1.GpuDevice) int { return int(a.GetIndex() - b.GetIndex()) })
	return out
}

// migMemory is what the profile says, such as 20 GiB for 3g.20gb, and never more than
// the GPU has.
func migMemory(profile string, whole *controlplanev1.GpuDevice) int64 {
	m := migGB.FindStringSubmatch(profile)
	if m == nil {
		return 0
	}
	bytes := int64(smallNumber(m[1])) << 30
	if has := whole.GetMemoryBytes(); has > 0 {
		return min(bytes, has)
	}
	return bytes
}

func cutModel(model, suffix string) string {
	return model[:min(len(model), maxGPUModelBytes-len(suffix))] + suffix
}

// smallNumber reads digits; a number that no device has if there are too many.
func smallNumber(digits string) int32 {
	n, err := strconv.ParseInt(digits, 10, 16)
	if err != nil {
		return 1 << 14
	}
	return int32(n)
}
