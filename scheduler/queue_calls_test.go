package scheduler

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// queue gives a queue the settings named, and its others the defaults:
// queue q weight=3 paused=1 max_tasks=2 max_cpu=1000 max_mem=10 max_gpus=1 max_disk=5 max_custom=license:2 ageing=1m placement=binpack.
func (c *command) queue() func() string {
	s := controlplane.DefaultQueueSettings()
	s.Weight, s.Paused = int32(c.int("weight", 1)), c.int("paused", 0) != 0
	s.Limits = controlplane.QueueLimits{Tasks: c.limit("max_tasks"), CPUMillis: c.limit("max_cpu"), MemoryBytes: c.limit("max_mem"), GPUs: c.limit("max_gpus"), DiskBytes: c.limit("max_disk"), Custom: c.counts("max_custom")}
	s.AgeingInterval = c.durationOf("ageing")
	if p := c.opts["placement"]; p != "" {
		s.Placement = controlplane.Placement(strings.ToUpper(p))
	}
	tasks := c.s.rig.tasks
	_, err := tasks.UpdateQueue(c.s.ctx, c.word(0), s, controlplane.QueueAllFields)
	if controlplane.CodeOf(err) == controlplane.CodeNotFound {
		_, err = tasks.CreateQueue(c.s.ctx, c.word(0), s)
	}
	return c.past(err)
}

// queues lists the queues with what they hold.
func (c *command) queues() func() string {
	all, err := c.s.rig.tasks.ListQueues(c.s.ctx, "", 1000)
	c.must(err)
	out := ""
	for _, q := range all {
		out += fmt.Sprintf("%s weight=%d pending=%d running=%d share=%d%%", q.Name, q.Weight, q.PendingTasks, q.RunningTasks, q.DominantShareMillionths/10_000)
		if q.Paused {
			out += " paused"
		}
		if q.Implicit {
			out += " implicit"
		}
		out += "\n"
	}
	return func() string { return out }
}

func (c *command) limit(name string) controlplane.QueueLimit {
	_, set := c.opts[name]
	return controlplane.QueueLimit{Set: set, Max: int64(c.int(name, 0))}
}

func (c *command) durationOf(name string) time.Duration {
	if v := c.opts[name]; v != "" {
		return c.duration(v)
	}
	return 0
}

func (c *command) float(name string, otherwise float64) float64 {
	v, ok := c.opts[name]
	if !ok {
		return otherwise
	}
	f, err := strconv.ParseFloat(v, 64)
	c.must(err)
	return f
}

// retryPolicy is what the options of a submission say, nil if they say nothing.
func (c *command) retryPolicy() *controlplane.RetryPolicy {
	p := &controlplane.RetryPolicy{InitialBackoff: c.durationOf("initial"), MaxBackoff: c.durationOf("max_backoff"), Multiplier: c.float("multiplier", 0), Jitter: c.float("jitter", 0.25)}
	for _, v := range c.list("retry_codes") {
		code, err := strconv.Atoi(v)
		c.must(err)
		p.ExitCodes = append(p.ExitCodes, int32(code))
	}
	if p.InitialBackoff == 0 && p.MaxBackoff == 0 && p.Multiplier == 0 && c.opts["jitter"] == "" && p.ExitCodes == nil {
		return nil
	}
	return p
}
