package agent

import (
	"context"
	"fmt"
	"strings"
	"testing"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// migList is in the form of NVIDIA's MIG user guide: a GPU with three parts, one
// that has MIG enabled and no parts yet, one without MIG.
const migList = `GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
  MIG 2g.10gb     Device  1: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)
  MIG 1g.5gb+me   Device  2: (UUID: MIG-GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0/2/0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaaaaaa-6756-fd30-cd4a-1e6da3caf9b0)
GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbbbbbb-6756-fd30-cd4a-1e6da3caf9b0)
`

func deviceText(gpus []*controlplanev1.GpuDevice) string {
	var out []string
	for _, g := range gpus {
		out = append(out, fmt.Sprintf("%d %s %dGiB %s", g.GetIndex(), g.GetModel(), g.GetMemoryBytes()>>30, g.GetUuid()))
	}
	return strings.Join(out, "\n")
}

func TestMIG(t *testing.T) {
	fakeSMI(t, `if [ "$1" = -L ]; then cat <<'END'
`+migList+`END
else
echo "0, NVIDIA A100-SXM4-40GB, 40960"; echo "1, NVIDIA A100-SXM4-40GB, 40960"; echo "2, NVIDIA H100 80GB HBM3, 81559"
fi`)
	for choice, want := range map[string]string{
		"all": `1 NVIDIA A100-SXM4-40GB 40GiB 
2 NVIDIA H100 80GB HBM3 79GiB 
100 NVIDIA A100-SXM4-40GB MIG 3g.20gb 20GiB MIG-c7384736-a75d-5afc-978f-d2f1294409fd
101 NVIDIA A100-SXM4-40GB MIG 2g.10gb 10GiB MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d
102 NVIDIA A100-SXM4-40GB MIG 1g.5gb+me 5GiB MIG-GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0/2/0`,
		"101,2": `101 NVIDIA A100-SXM4-40GB MIG 2g.10gb 10GiB MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d
2 NVIDIA H100 80GB HBM3 79GiB `,
	} {
		gpus, err := findGPUs(context.Background(), choice)
		if got := deviceText(gpus); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", choice, err, got, want)
		}
	}
}

func TestMIGOfStrangeLists(t *testing.T) {
	gpu := func() []*controlplanev1.GpuDevice { return []*controlplanev1.GpuDevice{{Index: 0, Model: "A"}} }
	for _, list := range []string{"", "No devices found.\n", "  MIG 1g.5gb Device 0: (UUID: MIG-1)\n", "GPU 0: A (UUID: GPU-1)\n  MIG 1g.5gb Device 99999999999: (UUID: MIG-1)\n"} {
		if got := deviceText(withMIG(gpu(), list)); got != "0 A 0GiB " {
			t.Errorf("%q: %s", list, got)
		}
	}
}

func TestDevicesAreNamedForCUDA(t *testing.T) {
	spec := []*controlplanev1.GpuDevice{{Index: 1}, {Index: 100, Uuid: "MIG-a"}, {Index: 101, Uuid: "MIG-b"}}
	if got := visibleDevices([]int32{1, 101}, spec); got != "1,MIG-b" {
		t.Errorf("CUDA_VISIBLE_DEVICES=%s", got)
	}
}
