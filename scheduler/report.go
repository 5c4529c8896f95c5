package scheduler

import (
	"cmp"
	"context"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// maxRetryAfter is the longest wait that a worker may ask for, and a policy before
// its jitter, by the contract.
const maxRetryAfter = 24 * time.Hour

// report is a call that records how attempts ended, and may poll.
type report struct {
	s        *Scheduler
	nodeID   string
	session  string
	results  []controlplane.Result
	outcomes []controlplane.ReportOutcome
	poll     *poll // nil if the call does not poll
	done     chan error
}

// Report records how attempts of a node ended, each on its own. A result for an
// attempt that is no longer the present one is refused with CodePrecondition; a
// repeat is answered as the first was.
func (s *Scheduler) Report(ctx context.Context, nodeID, session string, results []controlplane.Result) ([]controlplane.ReportOutcome, error) {
	r := s.newReport(nodeID, session, results)
	if err := s.tasks.Enqueue(r); err != nil {
		return nil, err
	}
	return r.await(ctx)
}

// ReportAndPoll is Report and Poll in one entry: the room that the results make
// is filled by the work that the poll gets.
func (s *Scheduler) ReportAndPoll(ctx context.Context, req controlplane.Poll, results []controlplane.Result) ([]controlplane.ReportOutcome, controlplane.Work, error) {
	r := s.newReport(req.NodeID, req.SessionID, results)
	r.poll = s.newPoll(req)
	if err := s.tasks.Enqueue(r); err != nil {
		return nil, controlplane.Work{}, err
	}
	return r.awaitBoth(ctx)
}

func (r *report) awaitBoth(ctx context.Context) ([]controlplane.ReportOutcome, controlplane.Work, error) {
	outcomes, err := r.await(ctx)
	if err != nil {
		r.s.leave(r.poll, true)
		return nil, controlplane.Work{}, err
	}
	work, err := r.s.await(ctx, r.poll)
	if err != nil && len(outcomes) == 0 {
		return nil, controlplane.Work{}, err
	}
	if err != nil { // the results are recorded: say so, and let the worker poll again
		return outcomes, controlplane.Work{}, nil
	}
	return outcomes, work, nil
}

func (s *Scheduler) newReport(nodeID, session string, results []controlplane.Result) *report {
	for i := range results {
		s.tasks.KeepLog(&results[i])
	}
	return &report{s: s, nodeID: nodeID, session: session, results: results,
		outcomes: make([]controlplane.ReportOutcome, len(results)), done: make(chan error, 1)}
}

func (r *report) await(ctx context.Context) ([]controlplane.ReportOutcome, error) {
	select {
	case err := <-r.done:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, controlplane.Errorf(controlplane.CodeUnknownOutcome, "the time allowed ended while the report was under way: report again")
	}
	for i := range r.outcomes {
		if r.outcomes[i] == (controlplane.ReportOutcome{}) {
			r.outcomes[i] = r.late(ctx, &r.results[i])
		}
	}
	return r.outcomes, nil
}

// Weight implements db.Item.
func (r *report) Weight() (ops, bytes int) {
	for i := range r.results {
		if r.results[i].Progress != nil {
			ops++
			bytes += progressBytes
		}
		bytes += 128 + len(r.results[i].Result) + len(r.results[i].LogTail) + len(r.results[i].Error)
	}
	return ops + len(r.results) + 1, bytes
}

// Prepare implements db.Item.
func (r *report) Prepare(g *db.Group) {
	r.s.mu.Lock()
	for i := range r.results {
		r.s.st.report(g, r, i)
	}
	r.s.mu.Unlock()
	if r.poll != nil {
		r.poll.Prepare(g)
	}
}

// Finish implements db.Item.
func (r *report) Finish(err error) {
	r.done <- err
	if r.poll != nil {
		r.poll.Finish(err)
	}
}

// report records one result, if its attempt is the present one of that node and
// session. Otherwise the outcome stays empty and is found out in the state.
func (st *state) report(g *db.Group, r *report, i int) {
	res := &r.results[i]
	a := st.held[res.TaskID]
	if a == nil || a.node.id != r.nodeID || a.node.session != r.session || a.Attempt != res.Attempt || a.Status != controlplane.TaskRunning {
		return
	}
	if res.Progress != nil {
		st.advance(g, a, *res.Progress)
	}
	st.release(a)
	op, status := st.ending(g, a, res)
	g.Add(op, st.checked("report", func(held bool) {
		if held {
			r.outcomes[i].Status = status
		}
	}))
}

// ending decides what follows a result: the end, or another attempt.
func (st *state) ending(g *db.Group, a *attempt, res *controlplane.Result) (*db.Op, controlplane.TaskStatus) {
	status := res.Status
	if a.CancelRequested && status != controlplane.TaskCompleted {
		status = controlplane.TaskCancelled
	}
	reason := ""
	switch {
	case a.isStuck() && !a.CancelRequested && status != controlplane.TaskCompleted:
		status, reason, res = controlplane.TaskFailed, "no_progress", a.noProgress(res)
	case status == controlplane.TaskFailed && res.Permanent:
		reason = "permanent"
	}
	switch {
	case status == controlplane.TaskPending:
		a.node.polled = time.Time{} // it is about to stop: nothing more, unless it polls again
		st.rewind(a.Stream)
		return db.RequeueOp(a.Held, db.Requeue{Attempt: db.AttemptReleased, Reason: "released", Result: *res}, g.Now), controlplane.TaskPending
	case status == controlplane.TaskFailed && !res.Permanent && a.FailedAttempts+1 < a.MaxAttempts && st.s.policy(a.RetryPolicy).retries(res.ExitCode):
		wait := res.RetryAfter
		if wait == 0 {
			wait = st.s.policy(a.RetryPolicy).backoff(a.FailedAttempts, st.s.opts.Jitter())
		}
		st.retries.add(retry{seq: a.Seq, stream: a.Stream, due: st.now().Add(wait)})
		return db.RequeueOp(a.Held, db.Requeue{Attempt: db.AttemptFailed, Reason: cmp.Or(reason, "retry"), Result: *res,
			RetryMs: g.Now + wait.Milliseconds()}, g.Now), controlplane.TaskPending
	}
	return db.EndOp(a.Held, status, res, reason, g.Now), status
}

// late answers a result that is not for a present attempt: as the first time if
// it is a repeat, else with a refusal that says what the task is at.
func (r *report) late(ctx context.Context, res *controlplane.Result) controlplane.ReportOutcome {
	a, err := r.s.tasks.AttemptState(ctx, res.TaskID, res.Attempt)
	switch {
	case err != nil:
		return controlplane.ReportOutcome{Err: err}
	case !a.Found:
		return controlplane.ReportOutcome{Err: &controlplane.Error{Code: controlplane.CodeNotFound, Field: "task_id",
			Message: "there is no task " + res.TaskID + ": drop the result"}}
	case a.NodeID == r.nodeID && records(a.Status, res.Status):
		return controlplane.ReportOutcome{Status: firstAnswer(a, res.Attempt)}
	}
	return controlplane.ReportOutcome{Err: controlplane.Errorf(controlplane.CodePrecondition,
		"attempt %d of task %s does not run on this session of node %s: the task is %s at attempt %d; drop the result",
		res.Attempt, res.TaskID, r.nodeID, a.TaskStatus, a.TaskAttempt)}
}

// records reports whether an attempt of the status recorded may have ended with
// this report. One that was cancelled ended so whatever its node said, unless it
// was completed.
func records(recorded string, reported controlplane.TaskStatus) bool {
	switch recorded {
	case db.AttemptReleased:
		return reported == controlplane.TaskPending
	case string(controlplane.TaskCancelled):
		return reported != controlplane.TaskCompleted
	}
	return recorded == string(reported)
}

// firstAnswer is the task's status right after the report: final if the attempt is
// the last one and stands with the task, else it went on.
func firstAnswer(a db.AttemptState, attempt int32) controlplane.TaskStatus {
	if a.TaskAttempt == attempt && a.Status == string(a.TaskStatus) {
		return a.TaskStatus
	}
	return controlplane.TaskPending
}
