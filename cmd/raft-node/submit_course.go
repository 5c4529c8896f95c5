package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// courseFlags say when and how often a task is to be tried.
type courseFlags struct {
	delay, queueTimeout time.Duration
	noProgressTimeout   time.Duration
	notBefore           string
	initial, longest    time.Duration
	multiplier, jitter  float64
	exitCodes           []int32
}

func (c *courseFlags) add(f *pflag.FlagSet, t *v1.Task) {
	f.DurationVar(&c.delay, "delay", 0, "do not start it before so long from now, such as 10m")
	f.StringVar(&c.notBefore, "not-before", "", "do not start it before this time, such as 2030-01-31T06:00:00Z")
	f.DurationVar(&c.queueTimeout, "queue-timeout", 0, "fail it if it is not started so long from now (default: never)")
	f.DurationVar(&c.noProgressTimeout, "no-progress-timeout", 0, "stop an attempt that reports no progress for so long, 1s or more; see 'raft-node agent --help' (default: never)")
	f.DurationVar(&c.initial, "retry-backoff", time.Second, "wait before the first retry")
	f.DurationVar(&c.longest, "retry-max-backoff", 5*time.Minute, "longest wait before a retry")
	f.Float64Var(&c.multiplier, "retry-multiplier", 2, "by how much each wait is longer than the one before, 1 to 100")
	f.Float64Var(&c.jitter, "retry-jitter", 0.25, "part of the wait by which it varies either way, 0 to 1")
	f.Int32SliceVar(&c.exitCodes, "retry-exit-codes", nil, "try again only after these exit codes, comma-separated (default: all)")
	f.StringVar(&t.ConcurrencyKey, "concurrency-key", "", "key of tasks of which only --max-concurrency run at once")
	f.Int32Var(&t.MaxConcurrency, "max-concurrency", 0, "how many tasks of the key may run at once, this one included (default 1)")
}

// set puts what is given into the task.
func (c *courseFlags) set(t *v1.Task, given func(flag string) bool) error {
	var errs []error
	if given("delay") {
		t.StartDelay = durationpb.New(c.delay)
	}
	if given("not-before") {
		at, err := time.Parse(time.RFC3339, c.notBefore)
		if err != nil {
			errs = append(errs, fmt.Errorf("--not-before: %q: give a time with its zone, such as 2030-01-31T06:00:00Z or 2030-01-31T06:00:00+01:00", c.notBefore))
		}
		t.EarliestStartTime = timestamppb.New(at)
	}
	if given("delay") && given("not-before") {
		errs = append(errs, errors.New("--delay and --not-before exclude each other: give one of them"))
	}
	if given("max-concurrency") && t.GetConcurrencyKey() == "" {
		errs = append(errs, errors.New("--max-concurrency: belongs to --concurrency-key"))
	}
	if given("queue-timeout") {
		t.QueueTimeout = durationpb.New(c.queueTimeout)
	}
	if given("no-progress-timeout") {
		t.NoProgressTimeout = durationpb.New(c.noProgressTimeout)
	}
	t.RetryPolicy = c.retryPolicy(given)
	return errors.Join(errs...)
}

// retryPolicy is what the flags say, nil if they say nothing.
func (c *courseFlags) retryPolicy(given func(flag string) bool) *v1.RetryPolicy {
	p, some := &v1.RetryPolicy{}, false
	take := func(flag string, set func()) {
		if given(flag) {
			some = true
			set()
		}
	}
	take("retry-backoff", func() { p.InitialBackoff = durationpb.New(c.initial) })
	take("retry-max-backoff", func() { p.MaxBackoff = durationpb.New(c.longest) })
	take("retry-multiplier", func() { p.Multiplier = &c.multiplier })
	take("retry-jitter", func() { p.Jitter = &c.jitter })
	take("retry-exit-codes", func() { p.ExitCodes = c.exitCodes })
	if !some {
		return nil
	}
	return p
}
