package service

import (
	"context"
	"time"

	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// progressInterval is how often a watch looks for progress at most. Only what is
// applied can be new, and every renewal of a lease is.
const progressInterval = time.Second

// progressWatch sends the progress of tasks beside their changes. What was sent is kept
// for each task, so a reader that is slow is told the newest and nothing else.
type progressWatch struct {
	ids  []string
	send func(cursor string, p *v1.TaskProgress) error
	sent map[string]db.TaskProgress
	// due is when to look again, if something was applied meanwhile.
	due     time.Time
	pending bool
}

// sendProgress sends what is new, unless that was looked for a moment ago.
func (w *watch) sendProgress(ctx context.Context) error {
	p := w.progress
	if p == nil {
		return nil
	}
	if p.pending = time.Now().Before(p.due); p.pending {
		return nil
	}
	p.due = time.Now().Add(progressInterval)
	all, err := w.s.Tasks.TaskProgress(ctx, p.ids)
	if err != nil {
		return err
	}
	for _, t := range all {
		if p.sent[t.TaskID] == t {
			continue
		}
		p.sent[t.TaskID] = t
		msg := &v1.TaskProgress{TaskId: t.TaskID, Attempt: t.Attempt, Progress: progressToProto(&t.Progress), Time: timeToProto(t.Time)}
		if err := w.deliver(ctx, func(cursor string) error { return p.send(cursor, msg) }); err != nil {
			return err
		}
	}
	return nil
}

// isDue reports whether what was put off is to be looked at now.
func (p *progressWatch) isDue() bool { return p != nil && p.pending && !time.Now().Before(p.due) }
