package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// withFile are the flags of submit that go together with --file; the others describe a
// task, which the file does.
var withFile = []string{"file", "request-id", "wait"}

func (a *app) submitFile(cmd *cobra.Command, s *submission, args []string) error {
	if len(args) > 0 {
		return usageErrorf("--file and the command %q exclude each other: give one of them", args[0])
	}
	if s.file == "" {
		return usageErrorf("--file: is empty: give a path, or - for standard input")
	}
	var idle []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if cmd.InheritedFlags().Lookup(f.Name) == nil && !slices.Contains(withFile, f.Name) {
			idle = append(idle, "--"+f.Name)
		}
	})
	if len(idle) > 0 {
		return usageErrorf("%s: say it in the file instead, which describes its tasks alone", strings.Join(idle, ", "))
	}
	jobs, err := a.readJobFile(s.file)
	if err != nil {
		return err
	}
	key, err := manyKey(s.requestID)
	if err != nil {
		return err
	}
	return a.submitOrFollow(cmd, s.follow, many{key: key, count: len(jobs), task: func(i int) (*v1.Task, string) {
		a.fillQueue(jobs[i].task)
		return jobs[i].task, jobs[i].place
	}})
}

func (a *app) submitArray(cmd *cobra.Command, s *submission, args []string) error {
	indexes, err := parseArray(s.array)
	if err != nil {
		return usageErrorf("--array: %w", err)
	}
	req, err := s.request(args, strings.NewReader(""))
	if err != nil {
		return err
	}
	if err := s.checkArray("--array"); err != nil {
		return usageErrorf("%w", err)
	}
	key, err := manyKey(s.requestID)
	if err != nil {
		return err
	}
	a.fillQueue(req.GetTask())
	return a.submitOrFollow(cmd, s.follow, many{
		key: key, label: arrayLabel + "=" + key, count: len(indexes), index: func(i int) int { return indexes[i] },
		task: func(i int) (*v1.Task, string) {
			return arrayTask(req.GetTask(), key, indexes[i], nil), fmt.Sprintf("index %d", indexes[i])
		},
	})
}

// submitOrFollow submits tasks and prints their ids, or waits for all of them.
func (a *app) submitOrFollow(cmd *cobra.Command, follow bool, m many) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if !follow {
		m.idOnly = !a.forPrograms() // people are shown no more
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		tasks, err := a.submitMany(ctx, c, m)
		return errors.Join(a.printTasks(tasks), err)
	}
	ended := &v1.ListTasksResponse{}
	err = a.followMany(cmd.Context(), c, m, func(t *v1.Task) error {
		ended.Tasks = append(ended.Tasks, t)
		return nil
	})
	if len(ended.GetTasks()) == 0 && !a.forPrograms() {
		return err
	}
	return errors.Join(a.print(ended, func(w io.Writer) { a.taskTable(w, ended.GetTasks(), m.columns()...) }), err)
}

// columns are those that the table of the tasks has beside that of any others.
func (m many) columns() []taskColumn {
	if m.index == nil {
		return nil
	}
	return []taskColumn{{"INDEX", func(t *v1.Task) string { return t.GetLabels()[arrayIndexLabel] }}}
}

// followMany submits tasks, waits until all have ended, and shows each once all before it
// have been shown. It is an error if one did not complete.
func (a *app) followMany(ctx context.Context, c *client.Client, m many, show func(t *v1.Task) error) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	m.idOnly = true
	f := &following{app: a, many: m, show: show, at: map[string][]int{}, bar: progressOf(a.err, nil)}
	f.bar.text = f.text
	w := newWaiter(c)
	w.enough = func(t *v1.Task) bool { return client.Final(t.GetStatus()) }
	w.tell = f.ended
	w.began = func(ctx context.Context) error {
		tasks, err := a.submitMany(ctx, c, m)
		if err != nil {
			return err
		}
		f.submitted = true
		f.expect(tasks, w.add)
		fmt.Fprintf(a.err, "raft-node: submitted %d tasks, waiting for their end\n", len(tasks))
		return nil
	}
	err := w.run(ctx, &v1.WatchEventsRequest{Types: finalEvents})
	f.bar.end()
	switch {
	case err != nil && !f.submitted:
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return exitError{exitInterrupted, fmt.Errorf("no longer waiting, %d of %d tasks have ended. The others go on: %s", f.bar.done, m.count, m.hint())}
	case err != nil:
		return fmt.Errorf("the tasks go on, but could not be followed: %s. %s", a.explain(err), m.hint())
	}
	return f.result()
}

// finalEvents are those after which a task does not change any more.
var finalEvents = []v1.EventType{v1.EventType_EVENT_TYPE_TASK_COMPLETED, v1.EventType_EVENT_TYPE_TASK_FAILED, v1.EventType_EVENT_TYPE_TASK_CANCELLED}

// hint says how to follow or cancel the tasks.
func (m many) hint() string {
	text := fmt.Sprintf("the same command with --request-id %s follows them again", shellWord(m.key))
	if label := shellWord(m.label); m.label != "" {
		text += fmt.Sprintf(", 'raft-node task list --label %s' shows them, 'raft-node task cancel --label %s' ends them", label, label)
	}
	return text
}

// following are tasks whose end is waited for.
type following struct {
	app       *app
	many      many
	show      func(t *v1.Task) error
	bar       *progress
	at        map[string][]int // where a task stands; twice if it was submitted twice
	tasks     []*v1.Task       // those that have ended
	submitted bool             // all, that is, and they are waited for
	shown     int
	failed    []*v1.Task
	err       error
}

func (f *following) text(done, total int64) string {
	text := fmt.Sprintf("%d of %d tasks", done, total)
	if len(f.failed) > 0 {
		text += fmt.Sprintf(", %d failed", len(f.failed))
	}
	return text
}

func (f *following) expect(tasks []*v1.Task, add func(id string)) {
	f.tasks = make([]*v1.Task, len(tasks))
	f.bar.total = int64(len(tasks))
	for i, t := range tasks {
		f.at[t.GetId()] = append(f.at[t.GetId()], i)
		add(t.GetId())
	}
}

// ended takes a task that has ended, and shows what there is to show now.
func (f *following) ended(t *v1.Task) {
	if t.GetStatus() != v1.TaskStatus_TASK_STATUS_COMPLETED {
		f.failed = append(f.failed, t)
	}
	for _, i := range f.at[t.GetId()] {
		f.tasks[i] = t
	}
	f.bar.above(func() {
		for ; f.shown < len(f.tasks) && f.tasks[f.shown] != nil && f.err == nil; f.shown++ {
			f.err = f.show(f.tasks[f.shown])
			f.tasks[f.shown] = &v1.Task{} // what was shown need not be kept
		}
	})
	f.bar.add(int64(len(f.at[t.GetId()])))
}

// result is an error if a task did not complete.
func (f *following) result() error {
	if f.err != nil || len(f.failed) == 0 {
		return f.err
	}
	slices.SortFunc(f.failed, func(a, b *v1.Task) int { return f.at[a.GetId()][0] - f.at[b.GetId()][0] })
	var lines []error
	for _, t := range f.failed {
		_, place := f.many.task(f.at[t.GetId()][0])
		lines = append(lines, fmt.Errorf("%s: %w", place, ending(t)))
	}
	retry := "raft-node task retry"
	if f.many.label != "" {
		retry += " --label " + shellWord(f.many.label)
	}
	return exitError{exitFailed, firstOf(lines, fmt.Errorf("%d of %d tasks did not complete: '%s' tries them again", len(f.failed), f.many.count, retry))}
}
