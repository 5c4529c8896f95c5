package service

import (
	"context"
	"fmt"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/tasklog"
)

// readLogHere answers a reader on the leader: at once if there is something to say,
// else when there is, or with nothing when the wait is over.
func (s *server) readLogHere(ctx context.Context, q logQuery, left func() time.Duration) (*v1.LogPart, error) {
	var r *logReader
	defer func() { r.close() }()
	for {
		applied := s.engine.AppliedIndex()
		a, err := s.Tasks.AttemptLog(ctx, q.task, q.attempt)
		if err != nil {
			return nil, err
		}
		if a.Status == "" && a.Attempt > 0 && a.TaskStatus.Final() {
			return nil, noAttempt(q.task, a)
		}
		r = r.of(s.logs, q.task, a)
		more := r.changed()
		part := q.part(a, r)
		if part.GetText() != "" || part.GetEnded() || left() == 0 {
			return part, nil
		}
		if err := s.awaitLog(ctx, a, q.task, applied, more, left()); err != nil {
			return nil, err
		}
	}
}

func noAttempt(task string, a *db.AttemptLog) error {
	return &controlplane.Error{Code: controlplane.CodeNotFound, Field: "attempt",
		Message: fmt.Sprintf("task %s has ended and has no attempt %d, its last one is %d: leave it out to read that one's log", task, a.Attempt, a.TaskAttempt)}
}

// awaitLog waits until there is more of the log, or until the state may say something
// else of the attempt, for at most d.
func (s *server) awaitLog(ctx context.Context, a *db.AttemptLog, task string, applied uint64, more <-chan struct{}, d time.Duration) error {
	step, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	go func() {
		select {
		case <-more:
			cancel()
		case <-step.Done():
		}
	}()
	key := controlplane.Attempt{TaskID: task, Attempt: a.Attempt}
	for {
		if err := s.engine.AwaitApplied(step, applied+1); err != nil {
			if ctx.Err() != nil || step.Err() == nil {
				return err
			}
			return nil
		}
		applied = s.engine.AppliedIndex()
		if a.Status == "" || !s.Scheduler.IsHeld(key) {
			return nil
		}
	}
}

// part is what a reader is told of an attempt.
func (q logQuery) part(a *db.AttemptLog, r *logReader) *v1.LogPart {
	p := &v1.LogPart{Attempt: a.Attempt, TaskStatus: taskStatusToProto[a.TaskStatus], NodeId: a.NodeID}
	if a.Status == "" {
		p.Attempt, p.Ended = q.attempt, a.Attempt == 0 && a.TaskStatus.Final() // it was never begun
	}
	text, at := r.read(q.offset)
	ended := a.Ended()
	if ended {
		text, at, ended = q.ending(a, text, at)
	}
	if text == "" {
		at = max(at, q.offset) // a new leader does not have yet what was read before
	}
	p.Offset, p.Text, p.NextOffset = at, text, at+int64(len(text))
	p.DroppedBytes, p.Ended = at-q.offset, p.Ended || ended
	return p
}

// ending is what to say of an attempt that is over: from what is held while that reaches
// further back than what is kept, and from what is kept to its end.
func (q logQuery) ending(a *db.AttemptLog, held string, at int64) (text string, from int64, ended bool) {
	end := a.Offset + int64(len(a.Tail))
	switch heldEnd := at + int64(len(held)); {
	case held == "":
	case heldEnd > end: // its node was lost before it could report
		return held, at, true
	case at < a.Offset:
		return held[:min(int64(len(held)), a.Offset-at)], at, false
	}
	from = min(max(q.offset, a.Offset), end)
	text = tasklog.TrimToRune(a.Tail[from-a.Offset:])
	return text, end - int64(len(text)), true
}

// logReader reads what is held of one attempt. A nil one has nothing.
type logReader struct {
	attempt int32
	r       *tasklog.Reader
}

// of returns a reader of an attempt, the same one while it is the same.
func (r *logReader) of(logs *tasklog.Store, task string, a *db.AttemptLog) *logReader {
	if r != nil && r.attempt == a.Attempt {
		return r
	}
	r.close()
	if a.Status == "" {
		return nil
	}
	open := logs.Open(tasklog.Attempt{TaskID: task, Number: a.Attempt})
	if open == nil {
		return nil
	}
	return &logReader{attempt: a.Attempt, r: open}
}

func (r *logReader) close() {
	if r != nil {
		r.r.Close()
	}
}

func (r *logReader) changed() <-chan struct{} {
	if r == nil {
		return nil
	}
	return r.r.Changed()
}

func (r *logReader) read(offset int64) (string, int64) {
	if r == nil {
		return "", 0
	}
	return r.r.Read(offset)
}
