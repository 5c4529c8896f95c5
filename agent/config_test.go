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
		"server:", "name: \"-x\"", "slots: 10001 is not in 1 to 10000", "cpu", "price-per-hour", "stop-grace: 1h0m0s", "shutdown-grace:",
		"label: the key", "label: the value", "zone:", "gpus: GPU 0 is listed twice",
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
