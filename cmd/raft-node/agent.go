package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/raft-control-plane/control-plane/agent"
	"github.com/raft-control-plane/control-plane/client"
)

const agentLong = `Makes this machine a node: fetches tasks that are commands, runs each as a process,
and reports how it ended.

A task runs with the agent's environment, without RAFT_NODE_* variables, and its
own on top; TASK_ID, TASK_ATTEMPT and TASK_NAME say which it is, and
CUDA_VISIBLE_DEVICES which GPUs it may use. It has a fresh directory unless it names
one. Its processes end when the node loses its lease, and when the agent is killed.

A task tells how far it has come by writing a line to the file TASK_PROGRESS_FILE, over what
is there or behind it: "0.42 epoch 3" or "42% epoch 3" for a part of the whole, "21/50 epoch 3"
for so many of so many (21/ if it is not known of how many), "epoch 3" for a text alone, or JSON:
{"done":21,"total":50,"message":"epoch 3"}. The last whole line of its last 4 KiB is read with
each heartbeat and at the end; a text has at most 256 bytes.

SIGTERM or Ctrl-C stops the tasks and hands them back to be run elsewhere; a second
one ends the agent at once.`

func newAgentCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run tasks on this machine",
		Long:  agentLong,
		Example: `  raft-node agent --server http://127.0.0.1:8080 --name worker-1
  raft-node agent --server https://a:8080,https://b:8080 --token-file token --provider aws --region us-east-1 --spot --price-per-hour 12.5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadAgentConfig(a)
			if err != nil {
				return usageErrorf("%w", err)
			}
			ctx, stop := interruptible(cmd.Context()) // a second signal ends the process, and with it all tasks
			defer stop()
			return agent.Run(ctx, cfg)
		},
	}
	addAgentFlags(cmd.Flags())
	return cmd
}

func addAgentFlags(f *pflag.FlagSet) {
	f.String("name", "", "name of the node, unique among all nodes, so that a second agent on a host needs one of its own (default: the host's name)")
	f.Int("slots", 0, "how many tasks run at once, 1 to 10000 (default: the number of cores, rounded up)")
	f.String("cpu", "", "cores that tasks may reserve, such as 3.5 (default: all, or what the control group allows)")
	f.String("memory", "", "memory that tasks may reserve, such as 64GiB (default: all, or what the control group allows)")
	f.String("disk", "", "disk that tasks may reserve, such as 500GiB (default: what is free at --work-dir)")
	f.StringSlice("resource", nil, "anything else that tasks may reserve, as NAME=COUNT, such as license=4; comma-separated or repeated")
	f.String("gpus", "", "GPUs to offer: all that nvidia-smi lists, none, or indexes such as 0,1; parts of a GPU (MIG) have 100, 101 … (default: all)")
	f.StringSlice("label", nil, "key=value that tasks can ask for; comma-separated or repeated")
	f.String("provider", "", "cloud that the machine is in, such as aws")
	f.String("region", "", "region, such as us-east-1")
	f.String("zone", "", "zone, such as us-east-1a")
	f.String("instance-type", "", "type of the machine, such as p5.48xlarge")
	f.Bool("spot", false, "the machine can be taken away at short notice")
	f.String("termination-file", "", "file that appears when the machine is about to be taken away, with the time in it (2006-01-02T15:04:05Z), or empty for in 30 s: the node is drained")
	f.String("price-per-hour", "", "price of the machine in US dollars, such as 2.49")
	f.String("work-dir", "", "directory in which tasks get directories of their own (default: a fresh one in the system's place for temporary files)")
	f.String("log-dir", "", "directory that keeps all that tasks print, a file TASK.ATTEMPT.log for each attempt (default: only the last 64 KiB are kept, with the attempt)")
	f.String("log-limit", "", "how much of one attempt --log-dir keeps, such as 100MiB (default: 1GiB)")
	f.Duration("stop-grace", 10*time.Second, "time between SIGTERM and SIGKILL for a task that was cancelled or exceeded its timeout")
	f.Duration("shutdown-grace", 5*time.Second, "the same for all tasks when the agent itself is stopped")
	f.String("log-level", "info", "debug, info, warn or error")
	f.String("log-format", "text", "text or json")
}

// loadAgentConfig reads the configuration and reports every mistake in it at once.
func loadAgentConfig(a *app) (agent.Config, error) {
	v := a.v
	logs := serveConfig{LogLevel: v.GetString("log-level"), LogFormat: v.GetString("log-format")} // the same flags
	errs := []error{logs.checkLog()}
	note := func(err error) { errs = append(errs, err) }
	cfg := agent.Config{
		Name: v.GetString("name"), Slots: v.GetInt("slots"), GPUs: v.GetString("gpus"),
		Provider: v.GetString("provider"), Region: v.GetString("region"), Zone: v.GetString("zone"), InstanceType: v.GetString("instance-type"),
		Spot: v.GetBool("spot"), TerminationFile: v.GetString("termination-file"), WorkDir: v.GetString("work-dir"), Version: version, Logger: logs.logger(a.err),
		StopGrace: agentGrace(v, "stop-grace"), ShutdownGrace: agentGrace(v, "shutdown-grace"),
		CPUMillis: agentAmount(v, "cpu", parseCPU, note), MemoryBytes: agentAmount(v, "memory", parseMemory, note),
		DiskBytes: agentAmount(v, "disk", parseMemory, note),
		LogDir:    v.GetString("log-dir"), LogLimitBytes: agentAmount(v, "log-limit", parseMemory, note),
		PriceMicrosPerHour: agentAmount(v, "price-per-hour", parsePrice, note),
	}
	if cfg.Name == "" {
		cfg.Name, _ = os.Hostname() // an empty name is refused below
	}
	var err error
	if cfg.Labels, err = parsePairs(list(v, "label")); err != nil {
		note(fmt.Errorf("--label %w", err))
	}
	if cfg.Custom, err = parseCounts(list(v, "resource"), 1); err != nil {
		note(fmt.Errorf("--resource %w", err))
	}
	// An agent outlives a restart of the whole cluster, so it has all the patience.
	// After an error this is a nil *client.Client, of which Validate does not complain again.
	cfg.ControlPlane, err = a.client(client.WithPatience(0), client.WithLogger(cfg.Logger))
	note(err)
	if v.IsSet("slots") && cfg.Slots == 0 { // which stands for the default below
		note(errors.New("--slots 0: give 1 to 10000, or leave it out for the number of cores"))
	}
	note(cfg.Validate())
	return cfg, errors.Join(errs...)
}

// agentGrace reads a grace period, of which 0 means none and not the default.
func agentGrace(v *viper.Viper, key string) time.Duration {
	if d := v.GetDuration(key); d != 0 {
		return d
	}
	return agent.NoGrace
}

// agentAmount reads an amount; 0, which stands for the default, if none is given.
func agentAmount(v *viper.Viper, key string, parse func(string) (int64, error), note func(error)) int64 {
	text := v.GetString(key)
	if text == "" {
		return 0
	}
	n, err := parse(text)
	if err == nil && n == 0 && key != "price-per-hour" {
		err = fmt.Errorf("%q: give more than 0", text)
	}
	if err != nil {
		note(fmt.Errorf("--%s %w", key, err))
	}
	return n
}

// parsePrice reads US dollars as millionths.
func parsePrice(s string) (int64, error) {
	m := quantity.FindStringSubmatch(s)
	if m == nil || m[2] != "" {
		return 0, fmt.Errorf("%q: give US dollars as a number, such as 2.49", s)
	}
	micros, exact := scale(m[1], 1_000_000)
	if !exact {
		return 0, fmt.Errorf("%q: give at most six decimals and at most 1000000 dollars", s)
	}
	return micros, nil
}
