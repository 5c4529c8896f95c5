package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const logsLong = `Prints what a task has printed: of its present or last attempt, or of the one that
--attempt names, while it runs and after its end. The last 64 KiB are held; with
--log-dir an agent keeps all of it on its machine.

With -f it goes on as the task prints more, through any member and also when the
leader or the member that is asked is lost, and with the next attempt when one fails,
until the task has ended. What was printed faster than it could be read is left out,
and standard error tells how much that was.

With -o json or jsonl each part is one line, with its attempt and where it stands.

Exit codes: 0 printed to its end (whatever became of the task), 1 it could not be
read, 2 called wrongly, 130 interrupted before the end.`

// logsOptions are what is to be printed.
type logsOptions struct {
	task    string
	attempt int32
	follow  bool
	tail    int // lines; all if negative
}

func newLogsCommand(a *app) *cobra.Command {
	o := logsOptions{}
	cmd := &cobra.Command{
		Use: "logs TASK", Short: "Print what a task prints, while it runs and after", Long: logsLong, Args: cobra.ExactArgs(1),
		Example: `  raft-node logs -f train-7
  raft-node logs train-7 --attempt 1 --tail 20`,
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on until the task has ended")
	f.Int32Var(&o.attempt, "attempt", 0, "only of this attempt, from 1 (default: the present or last one)")
	f.IntVar(&o.tail, "tail", -1, "begin with the last so many lines of what is held (default: all)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.attempt < 0 {
			return usageErrorf("--attempt %d: give 1 or more", o.attempt)
		}
		if o.tail < 0 && cmd.Flags().Changed("tail") {
			return usageErrorf("--tail %d: give 0 or more, or leave it out for all", o.tail)
		}
		o.task = args[0]
		return a.logs(cmd.Context(), o)
	}
	return limitFormats(cmd, "table json jsonl")
}

func (a *app) logs(ctx context.Context, o logsOptions) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	p := &logPrinter{a: a, o: o}
	if err = p.run(ctx, c); err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return exitError{code: exitInterrupted}
	}
	return err
}

// logPrinter prints the parts of a log.
type logPrinter struct {
	a       *app
	o       logsOptions
	attempt int32 // of what was printed last
	waiting bool  // that it has not begun was told
	open    bool  // a line was begun
}

func (p *logPrinter) run(ctx context.Context, c *client.Client) error {
	first, err := c.ReadLog(ctx, &v1.ReadLogRequest{TaskId: p.o.task, Attempt: p.o.attempt})
	if err != nil {
		return err
	}
	next := &v1.TailLogRequest{TaskId: p.o.task, Attempt: first.GetAttempt(), Offset: first.GetNextOffset()}
	if p.o.tail >= 0 {
		first.Text, first.DroppedBytes = lastLines(first.GetText(), p.o.tail), 0
	}
	if err := p.print(first); err != nil || !p.o.follow {
		return err
	}
	if p.o.attempt > 0 {
		return c.TailLog(ctx, next, p.print)
	}
	return c.FollowLogs(ctx, next, p.print)
}

func (p *logPrinter) print(part *v1.LogPart) error {
	if p.a.forPrograms() {
		return p.a.printLines([]proto.Message{part})
	}
	p.announce(part)
	if part.GetText() == "" {
		return nil
	}
	p.open = !strings.HasSuffix(part.GetText(), "\n")
	_, err := io.WriteString(p.a.out, part.GetText())
	return err
}

// announce tells, on standard error, what the text does not.
func (p *logPrinter) announce(part *v1.LogPart) {
	switch {
	case part.GetNodeId() == "" && !part.GetEnded() && !p.waiting:
		p.waiting = true
		wait := ": -f waits for it"
		if p.o.follow {
			wait = " yet, waiting"
		}
		p.note("attempt %d of task %s has not begun%s", max(part.GetAttempt(), 1), p.o.task, wait)
	case p.attempt > 0 && part.GetAttempt() != p.attempt && part.GetNodeId() != "":
		p.waiting = false
		p.note("attempt %d, on node %s", part.GetAttempt(), part.GetNodeId())
	}
	if part.GetNodeId() != "" {
		p.attempt = part.GetAttempt()
	}
	if n := part.GetDroppedBytes(); n > 0 {
		p.note("%d bytes before this are not held any more", n)
	}
}

func (p *logPrinter) note(format string, args ...any) {
	if p.open {
		fmt.Fprintln(p.a.err)
		p.open = false
	}
	fmt.Fprintf(p.a.err, "raft-node: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// lastLines returns the last n lines of a text.
func lastLines(text string, n int) string {
	end := len(text)
	if strings.HasSuffix(text, "\n") {
		end--
	}
	for range n {
		if end = strings.LastIndexByte(text[:max(end, 0)], '\n'); end < 0 {
			return text
		}
	}
	return text[end+1:]
}
