package agent

import (
	"strings"
	"testing"
	"time"
)

func TestValidateReportsEveryMistake(t *testing.T) {
	c := Config{
		Name: "-x", Slots: 10_001, CPUMillis: -1, GPUs: "0,0", Labels: map[string]string{"": strings.Repeat("v", 257)},
		Zone: strings.Repeat("z", 64), PriceMicrosPerHour: -5, StopGrace: time.Hour, ShutdownGrace: -1,
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, want := range []string{
		"--server:", "--name \"-x\":", "--slots 10001: give 1 to 10000", "--cpu -1 thousandths", "--price-per-hour -5", "--stop-grace 1h0m0s:",
		"--shutdown-grace -1ns:", "--label =: its key", "--label =…: its value", "--zone zz", "--gpus 0,0: GPU 0 is given twice",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no mention of %q", want)
		}
	}
	if len(lines) != 11 {
		t.Errorf("%d mistakes, want 11:\n%v", len(lines), err)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	if err := (Config{Name: "n1", ControlPlane: dialled{}}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{Name: "n1", ControlPlane: dialled{}, StopGrace: NoGrace}).Validate(); err != nil {
		t.Error(err)
	}
}
