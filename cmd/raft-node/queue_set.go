package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// queueFlags are what the flags of create and update say.
type queueFlags struct {
	weight                 int32
	paused                 bool
	tasks, gpus            string
	cpu, memory, placement string
	disk                   string
	custom                 []string
	ageing                 time.Duration
	given                  func(flag string) bool
}

func newQueueSetCommand(use, short string, set func(ctx context.Context, q *v1.Queue, fields []v1.QueueField) error) *cobra.Command {
	var q queueFlags
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), Example: strings.NewReplacer("VERB", strings.Fields(use)[0]).Replace(
		`  raft-node queue VERB train --weight 3 --max-gpus 16
  raft-node queue VERB batch --placement binpack --ageing 1m --max-cpu none`)}
	f := cmd.Flags()
	f.Int32Var(&q.weight, "weight", 1, "its part of the nodes against other queues, 1 to 1000")
	f.BoolVar(&q.paused, "paused", false, "place nothing from it")
	f.StringVar(&q.tasks, "max-tasks", "none", "most tasks that run at once; none for no limit")
	f.StringVar(&q.cpu, "max-cpu", "none", "most cores that they reserve together, such as 64; none for no limit")
	f.StringVar(&q.memory, "max-memory", "none", "most memory that they reserve together, such as 512GiB; none for no limit")
	f.StringVar(&q.gpus, "max-gpus", "none", "most GPUs that they hold together; none for no limit")
	f.StringVar(&q.disk, "max-disk", "none", "most disk that they reserve together, such as 2TiB; none for no limit")
	f.StringArrayVar(&q.custom, "max-resource", nil, "most of anything else that they reserve together, as NAME=COUNT, such as license=4; may be repeated; none for no such limits")
	words := statusWords(v1.Placement_name, placementPrefix)
	f.StringVar(&q.placement, "placement", "spread", "which of the nodes with room takes a task: "+strings.Join(words, ", "))
	f.DurationVar(&q.ageing, "ageing", 0, "time by which a waiting task gains one priority, so that none waits for ever; 0 for never")
	must(cmd.RegisterFlagCompletionFunc("placement", completions(words...)))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q.given = cmd.Flags().Changed
		queue, fields, err := q.queue(args[0])
		if err != nil {
			return err
		}
		return set(cmd.Context(), queue, fields)
	}
	return cmd
}

// queue reads the flags and reports every mistake in them at once. fields are those
// that are given.
func (q *queueFlags) queue(name string) (queue *v1.Queue, fields []v1.QueueField, err error) {
	var errs []error
	given := func(flag string, field v1.QueueField, read func() error) {
		if !q.given(flag) {
			return
		}
		fields = append(fields, field)
		if err := read(); err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	queue = &v1.Queue{Name: name, Limits: &v1.QueueLimits{}}
	l := queue.Limits
	given("weight", v1.QueueField_QUEUE_FIELD_WEIGHT, func() error {
		if queue.Weight = q.weight; q.weight == 0 { // on the wire it stands for the default
			return errors.New("is 0: give 1 to 1000; to stop placements, use --paused")
		}
		return nil
	})
	given("paused", v1.QueueField_QUEUE_FIELD_PAUSED, func() error { queue.Paused = q.paused; return nil })
	given("max-tasks", v1.QueueField_QUEUE_FIELD_LIMIT_TASKS, func() (err error) { l.Tasks, err = parseLimit(q.tasks, parseCount); return err })
	given("max-cpu", v1.QueueField_QUEUE_FIELD_LIMIT_CPU, func() (err error) { l.CpuMillis, err = parseLimit(q.cpu, parseCPU); return err })
	given("max-memory", v1.QueueField_QUEUE_FIELD_LIMIT_MEMORY, func() (err error) { l.MemoryBytes, err = parseLimit(q.memory, parseMemory); return err })
	given("max-gpus", v1.QueueField_QUEUE_FIELD_LIMIT_GPUS, func() (err error) { l.Gpus, err = parseLimit(q.gpus, parseCount); return err })
	given("max-disk", v1.QueueField_QUEUE_FIELD_LIMIT_DISK, func() (err error) { l.DiskBytes, err = parseLimit(q.disk, parseMemory); return err })
	given("max-resource", v1.QueueField_QUEUE_FIELD_LIMIT_CUSTOM, func() (err error) {
		if slices.Equal(q.custom, []string{"none"}) {
			return nil
		}
		l.Custom, err = parseCounts(q.custom, 0)
		return err
	})
	given("placement", v1.QueueField_QUEUE_FIELD_PLACEMENT, func() error {
		if queue.Placement = v1.Placement(v1.Placement_value[placementPrefix+strings.ToUpper(q.placement)]); queue.Placement == 0 {
			return fmt.Errorf("%q: give %s", q.placement, strings.Join(statusWords(v1.Placement_name, placementPrefix), ", "))
		}
		return nil
	})
	given("ageing", v1.QueueField_QUEUE_FIELD_AGEING_INTERVAL, func() error {
		if q.ageing != 0 {
			queue.AgeingInterval = durationpb.New(q.ageing)
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		return nil, nil, usageErrorf("%w", err)
	}
	return queue, fields, nil
}

// parseLimit reads an amount, or none.
func parseLimit[T int32 | int64](s string, parse func(string) (T, error)) (*T, error) {
	if s == "none" {
		return nil, nil
	}
	v, err := parse(s)
	if err != nil {
		return nil, fmt.Errorf("%w; or none", err)
	}
	return &v, nil
}

func (a *app) createQueue(ctx context.Context, q *v1.Queue, _ []v1.QueueField) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	res, err := c.CreateQueue(ctx, &v1.CreateQueueRequest{Queue: q})
	if err != nil {
		return err
	}
	return a.print(res, func(w io.Writer) { queueBlock(w, res.GetQueue()) })
}

func (a *app) updateQueue(ctx context.Context, q *v1.Queue, fields []v1.QueueField) error {
	if len(fields) == 0 {
		return usageErrorf("nothing to change: give a flag, such as --weight 2")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	res, err := c.UpdateQueue(ctx, &v1.UpdateQueueRequest{Queue: q, Fields: fields})
	if err != nil {
		return err
	}
	return a.print(res, func(w io.Writer) { queueBlock(w, res.GetQueue()) })
}

func newQueuePauseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "pause QUEUE", Short: "Place nothing from a queue; what runs goes on", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			res, err := c.PauseQueue(cmd.Context(), &v1.PauseQueueRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return a.say(res, "%s: paused, %d tasks wait", res.GetQueue().GetName(), res.GetQueue().GetPendingTasks())
		},
	}
}

func newQueueResumeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "resume QUEUE", Short: "Place tasks from a paused queue again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			res, err := c.ResumeQueue(cmd.Context(), &v1.ResumeQueueRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return a.say(res, "%s: open", res.GetQueue().GetName())
		},
	}
}

func newQueueDeleteCommand(a *app) *cobra.Command {
	return limitFormats(&cobra.Command{
		Use: "delete QUEUE", Short: "Take the settings of an empty queue away", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			res, err := c.DeleteQueue(cmd.Context(), &v1.DeleteQueueRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return a.say(res, "%s: its settings are gone", args[0])
		},
	}, nameless)
}
