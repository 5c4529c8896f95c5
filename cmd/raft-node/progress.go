package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// fractionTotal is the total of whoever reports a part of the whole only.
const fractionTotal = 1_000_000

// progressText is how far a task has come, such as "42% (21/50) epoch 3"; "" if it has not
// said so.
func progressText(p *v1.Progress) string {
	var parts []string
	fraction, known := client.Fraction(p)
	if known {
		parts = append(parts, fmt.Sprintf("%d%%", int(100*fraction)))
	}
	switch {
	case known && p.GetTotal() != fractionTotal:
		parts = append(parts, fmt.Sprintf("(%d/%d)", p.GetDone(), p.GetTotal()))
	case !known && p.GetDone() > 0:
		parts = append(parts, fmt.Sprintf("%d done", p.GetDone()))
	}
	if p.GetMessage() != "" {
		parts = append(parts, p.GetMessage())
	}
	return oneLine(strings.Join(parts, " "))
}

// printProgress prints progress in the columns of printChange.
func (a *app) printProgress(p *v1.TaskProgress) error {
	_, err := fmt.Fprintf(a.out, "%s  %-36s  %-9s  %2d  %s\n", p.GetTime().AsTime().Local().Format(time.TimeOnly), p.GetTaskId(), "progress", p.GetAttempt(),
		progressText(p.GetProgress()))
	return err
}

// showProgress keeps one line on a terminal that tells how far a task is, until the function
// that it returns is called.
func (a *app) showProgress(ctx context.Context, c *client.Client, id string) (end func()) {
	if !isTerminal(a.err) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		shown := false
		_ = client.JobOf[any](c, id).Progress(ctx, func(p *v1.TaskProgress) error { // what goes wrong shows in what is waited for
			shown = true
			fmt.Fprintf(a.err, "\r\x1b[K%s", short(progressText(p.GetProgress()), 78))
			return nil
		})
		if shown {
			fmt.Fprint(a.err, "\r\x1b[K")
		}
	}()
	return func() { cancel(); <-ended }
}
