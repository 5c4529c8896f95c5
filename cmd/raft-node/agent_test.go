package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/agent"
)

// agentConfigOf reads the configuration of an agent's command line, without
// running it.
func agentConfigOf(t *testing.T, args ...string) (agent.Config, error) {
	t.Helper()
	var out bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &out}
	root := newRoot(a)
	var cfg agent.Config
	cmd, _, err := root.Find([]string{"agent"})
	if err != nil {
		t.Fatal(err)
	}
	cmd.RunE = func(*cobra.Command, []string) (err error) {
		cfg, err = loadAgentConfig(a)
		return err
	}
	root.SetArgs(append([]string{"agent"}, args...))
	err = root.ExecuteContext(context.Background())
	return cfg, err
}

func TestAgentFlags(t *testing.T) {
	t.Setenv("RAFT_NODE_ZONE", "z1")
	t.Setenv("RAFT_NODE_LABEL", "a=1,b=x=y")
	c, err := agentConfigOf(t, "--server", "http://127.0.0.1:1,http://127.0.0.1:2", "--name", "w1", "--slots", "3", "--cpu", "3.5", "--memory", "64GiB",
		"--gpus", "0,1", "--disk", "1TiB", "--resource", "license=2,seat=1", "--provider", "aws", "--region", "r1", "--instance-type", "p5", "--spot", "--price-per-hour", "2.49",
		"--termination-file", "/gone", "--stop-grace", "0s", "--work-dir", "/some/dir")
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "w1" || c.Slots != 3 || c.DiskBytes != 1<<40 || len(c.Custom) != 2 || c.Custom["license"] != 2 || c.CPUMillis != 3500 || c.MemoryBytes != 64<<30 || c.GPUs != "0,1" || c.Provider != "aws" || c.Region != "r1" ||
		c.Zone != "z1" || c.InstanceType != "p5" || !c.Spot || c.TerminationFile != "/gone" || c.PriceMicrosPerHour != 2_490_000 || c.WorkDir != "/some/dir" {
		t.Errorf("got %+v", c)
	}
	if c.StopGrace != agent.NoGrace || c.ShutdownGrace != 5*time.Second || len(c.Labels) != 2 || c.Labels["b"] != "x=y" {
		t.Errorf("got %+v", c)
	}
}

func TestAgentFlagDefaults(t *testing.T) {
	c, err := agentConfigOf(t)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name == "" || c.StopGrace != 10*time.Second || c.PriceMicrosPerHour != 0 || c.CPUMillis != 0 || c.ControlPlane == nil {
		t.Errorf("got %+v", c)
	}
}

func TestAgentReportsEveryMistake(t *testing.T) {
	_, err := agentConfigOf(t, "--name", "-", "--slots", "-1", "--cpu", "0", "--memory", "many", "--price-per-hour", "$2", "--label", "x",
		"--gpus", "first", "--token-file", "/no/such/file", "--log-level", "loud")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"--name", "--slots -1", `--cpu "0"`, `--memory "many"`, `--price-per-hour "$2"`, `--label "x"`, "--gpus first", "--token-file", "--log-level"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no mention of %s in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "--server") {
		t.Errorf("complains of what is right:\n%v", err)
	}
}
