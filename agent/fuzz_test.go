package agent

import (
	"testing"
	"unicode/utf8"
)

// FuzzNvidiaSMI reads anything that the driver's tool may print, as devices that
// the contract takes or as an error.
func FuzzNvidiaSMI(f *testing.F) {
	for _, s := range []string{"", "0, NVIDIA H100 80GB HBM3, 81559\n1, NVIDIA H100 80GB HBM3, 81559\n", "0, GB10, [N/A]\n", "No devices were found\n", "0, A, B, 5\n", "x, y, z", "1,2", "-1, a, 5", "0, a, 99999999999999999999", "0, \xff, 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, out string) {
		gpus, err := parseNvidiaSMI(out)
		if err != nil {
			return
		}
		for _, g := range gpus {
			if g.GetIndex() < 0 || g.GetIndex() > maxGPUIndex || len(g.GetModel()) > maxGPUModelBytes || g.GetMemoryBytes() < 0 || !utf8.ValidString(g.GetModel()) {
				t.Errorf("%q is read as %v", out, g)
			}
		}
	})
}

// FuzzGPUChoice takes distinct indexes within the contract.
func FuzzGPUChoice(f *testing.F) {
	for _, s := range []string{"", "all", "none", "0", "0,1", "1, 0", "0,0", "-1", "1024", "1023", ",", "0,", "all,0", "+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, choice string) {
		indexes, err := parseGPUChoice(choice)
		if err != nil {
			return
		}
		seen := map[int32]bool{}
		for _, i := range indexes {
			if i < 0 || i > maxGPUIndex || seen[i] {
				t.Errorf("%q is read as %v", choice, indexes)
			}
			seen[i] = true
		}
		if len(indexes) == 0 && choice != gpusAll && choice != gpusNone {
			t.Errorf("%q is read as no device", choice)
		}
	})
}
