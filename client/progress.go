package client

import (
	"context"

	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/session"
)

// ReportProgress tells, from within a handler, how far its attempt has come: done of
// total, in any unit, and what it is at. Total is 0 if it is not known; message is cut to
// 256 bytes. It only notes it, so that it may be called in any loop: the newest goes with
// the worker's next heartbeat, every 5 s, and the last with the result. What differs from the report
// before counts as progress, which is what a task's no_progress_timeout goes by.
//
// Outside of a handler it does nothing.
func ReportProgress(ctx context.Context, done, total int64, message string) {
	report(ctx, session.NewProgress(float64(done), float64(total), message))
}

// ReportFraction is ReportProgress for a handler that knows only a part of the whole, 0 to 1.
func ReportFraction(ctx context.Context, fraction float64, message string) {
	report(ctx, session.NewProgress(min(fraction, 1)*session.ProgressWhole, session.ProgressWhole, message))
}

func report(ctx context.Context, p *v1.Progress) {
	if at := AttemptOf(ctx); at != nil {
		at.progress.Store(p)
	}
}

// Progress implements session.Progressor.
func (c *execution) Progress() *v1.Progress { return c.at.progress.Load() }

// Fraction returns how much of its whole a progress is, 0 to 1; false if that is not known.
func Fraction(p *v1.Progress) (fraction float64, known bool) {
	if p.GetTotal() == 0 {
		return 0, false
	}
	return min(float64(p.GetDone())/float64(p.GetTotal()), 1), true
}

// Progress calls f with how far the task's present or last attempt has come, beginning
// with what is known, at most once a second, until the task's end, ctx or an error of f.
func (j *Job[Result]) Progress(ctx context.Context, f func(*v1.TaskProgress) error) error {
	var last *v1.TaskProgress
	return j.follow(ctx, &v1.WatchTasksRequest{Progress: true}, func(p *v1.TaskProgress, task *v1.Task) error {
		if p == nil && Final(task.GetStatus()) && task.GetProgress() != nil { // what came with the result
			p = &v1.TaskProgress{TaskId: task.GetId(), Attempt: task.GetAttempt(), Progress: task.GetProgress(), Time: task.GetProgressTime()}
		}
		if p == nil || proto.Equal(p, last) {
			return nil
		}
		last = p
		return f(p)
	})
}
