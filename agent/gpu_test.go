package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseNvidiaSMI(t *testing.T) {
	tests := []struct {
		name, out, want string
	}{
		{"H100s", "0, NVIDIA H100 80GB HBM3, 81559\n1, NVIDIA H100 80GB HBM3, 81559\n", "0 NVIDIA H100 80GB HBM3 85520809984; 1 NVIDIA H100 80GB HBM3 85520809984"},
		{"H200, as driver 580.159 wrote it", "0, NVIDIA H200, 143771\n", "0 NVIDIA H200 150754820096"},
		{"T4", "0, Tesla T4, 15360\r\n", "0 Tesla T4 16106127360"},
		{"shared memory", "0, NVIDIA GB10, [N/A]\n", "0 NVIDIA GB10 0"},
		{"comma in the name", "2, A, B, 10\n", "2 A, B 10485760"},
		{"none", "No devices were found\n", ""},
		{"nothing", "", ""},
		{"other output", "Failed to initialize NVML\n", "cannot read"},
		{"no index", "x, GPU, 10\n", "cannot read the index"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gpus, err := parseNvidiaSMI(tt.out)
			var got []string
			for _, g := range gpus {
				got = append(got, fmt.Sprint(g.GetIndex(), " ", g.GetModel(), " ", g.GetMemoryBytes()))
			}
			text := strings.Join(got, "; ")
			if err != nil {
				text = err.Error()
			}
			if err == nil && text != tt.want || !strings.Contains(text, tt.want) {
				t.Errorf("got %q, want %q", text, tt.want)
			}
		})
	}
}

// fakeSMI puts a program named nvidia-smi first in the PATH.
func fakeSMI(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte("#!/bin/sh\n"+script), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestFindGPUs(t *testing.T) {
	ctx := context.Background()
	fakeSMI(t, `[ "$*" = "--query-gpu=index,name,memory.total --format=csv,noheader,nounits" ] || exit 9
echo "0, Tesla T4, 15360"; echo "1, Tesla T4, 15360"`)
	for choice, want := range map[string]string{"all": "0 Tesla T4,1 Tesla T4", "none": "", "1": "1 Tesla T4", "5, 0": "5 ,0 Tesla T4"} {
		gpus, err := findGPUs(ctx, choice)
		var got []string
		for _, g := range gpus {
			got = append(got, fmt.Sprint(g.GetIndex(), " ", g.GetModel()))
		}
		if err != nil || strings.Join(got, ",") != want {
			t.Errorf("%s: got %q, %v, want %q", choice, got, err, want)
		}
	}
}

func TestBrokenDriverIsAnError(t *testing.T) {
	fakeSMI(t, `echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."; exit 9`)
	if _, err := findGPUs(context.Background(), "all"); err == nil || !strings.Contains(err.Error(), "couldn't communicate") || !strings.Contains(err.Error(), "--gpus none") {
		t.Errorf("got %v", err)
	}
}

func TestNoNvidiaSMI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if gpus, err := findGPUs(context.Background(), "all"); err != nil || len(gpus) != 0 {
		t.Errorf("got %v, %v", gpus, err)
	}
}
