package session

import (
	"context"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/gather"
)

const (
	// maxReportItems and maxReportBytes bound one call; a message may have 4 MiB.
	maxReportItems = 1000
	maxReportBytes = 3 << 20
	reportTimeout  = 10 * time.Second
)

// report is the outcome of an attempt, kept until it is answered.
type report struct {
	at     *Attempt
	result *controlplanev1.TaskResult
	// bare says that the outcome was refused as malformed and cut to its error.
	bare bool
}

// reports is the queue of outcomes. What arrives while a call is under way goes
// into the next one together.
type reports struct {
	mu    sync.Mutex
	queue []*report
	wake  chan struct{}
}

func newReports() *reports { return &reports{wake: make(chan struct{}, 1)} }

func (r *reports) add(at *Attempt, res *controlplanev1.TaskResult) {
	r.mu.Lock()
	r.queue = append(r.queue, &report{at: at, result: res})
	r.mu.Unlock()
	r.wakeUp()
}

// putBack returns what was not answered to the front of the queue.
func (r *reports) putBack(batch []*report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(slices.Clip(batch), r.queue...)
}

func (r *reports) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reports) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue)
}

// take removes at most maxItems reports, within maxReportBytes, from the queue.
func (r *reports) take(maxItems int) []*report {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, size := 0, 0
	for ; n < len(r.queue) && n < maxItems; n++ {
		size += r.queue[n].result.SizeVT()
		if n > 0 && size > maxReportBytes {
			break
		}
	}
	batch := slices.Clone(r.queue[:n])
	r.queue = slices.Delete(r.queue, 0, n)
	return batch
}

// reportLoop reports outcomes until ctx ends. Each is tried until it is answered:
// by any member, across changes of the leader, and also when the lease is over,
// because only the control plane knows whether the attempt is still this node's.
func (s *session) reportLoop(ctx context.Context) {
	var wait backoff
	maxItems := maxReportItems
	for {
		gather.Settle(s.reports.len)
		batch := s.reports.take(maxItems)
		if len(batch) == 0 {
			select {
			case <-s.reports.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if batch = s.undropped(batch); len(batch) == 0 {
			continue
		}
		left, err := s.send(ctx, batch)
		maxItems = maxReportItems
		if err != nil && connect.CodeOf(err) == connect.CodeInvalidArgument {
			if len(batch) == 1 {
				left = s.malformed(batch[0], err)
			}
			maxItems = 1 // find the one that is malformed
		}
		if len(left) == 0 {
			wait = backoff{}
			continue
		}
		s.reports.putBack(left)
		if !wait.sleep(ctx) {
			return
		}
	}
}

// undropped leaves out reports of attempts that are no longer this node's.
func (s *session) undropped(batch []*report) []*report {
	return slices.DeleteFunc(batch, func(r *report) bool {
		if !r.at.IsDropped() {
			return false
		}
		s.held.remove(r.at, false)
		return true
	})
}

// send reports a batch and returns what was not answered. The call polls for the
// slots that the batch makes free, without waiting, so that a node with work
// queued needs one call for each task; other slots are the poll loop's.
func (s *session) send(ctx context.Context, batch []*report) (left []*report, err error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	req := &controlplanev1.ReportTaskResultsRequest{NodeId: s.cfg.Name, SessionId: s.id}
	for _, r := range batch {
		req.Results = append(req.Results, r.result)
	}
	if !s.held.isDraining() {
		req.MaxTasks = int32(len(batch)) //nolint:gosec // at most maxReportItems
	}
	sent := BootClock()
	resp, err := s.cfg.ControlPlane.ReportTaskResults(ctx, req)
	if err != nil {
		s.held.setUncertain()
		return s.refused(batch, err), err
	}
	s.renewed(sent, resp.GetLease())
	s.begin(s.held.add(resp.GetTasks())) // before the batch gives up its slots
	for i, r := range batch {
		if i >= len(resp.GetOutcomes()) || !s.answered(r, resp.GetOutcomes()[i]) {
			left = append(left, r)
		}
	}
	s.obey(resp.GetStop())
	return left, nil
}

// refused returns what to try again after a call that failed as a whole.
func (s *session) refused(batch []*report, err error) (left []*report) {
	switch connect.CodeOf(err) {
	case connect.CodeFailedPrecondition, connect.CodeNotFound:
		for _, r := range batch {
			s.drop(r, err.Error())
		}
		return nil
	default:
		s.log.Debug("report failed: trying on", "reports", len(batch), "error", err)
		return batch
	}
}

// answered takes in the outcome of one report, and reports false if it has to be
// tried again.
func (s *session) answered(r *report, o *controlplanev1.ReportOutcome) bool {
	switch o.GetError().GetCode() {
	case "":
		s.held.remove(r.at, true)
	case connect.CodeFailedPrecondition.String(), connect.CodeNotFound.String():
		s.drop(r, o.GetError().GetMessage())
	case connect.CodeInvalidArgument.String():
		return len(s.malformed(r, textError(o.GetError().GetMessage()))) == 0
	default:
		s.log.Debug("report not recorded: trying on", "task", r.at.key.task, "code", o.GetError().GetCode(), "error", o.GetError().GetMessage())
		return false
	}
	return true
}

type textError string

func (e textError) Error() string { return string(e) }

// drop gives up a report that was refused for good.
func (s *session) drop(r *report, why string) {
	s.log.Warn("report refused and dropped", "task", r.at.key.task, "attempt", r.at.key.number, "status", r.result.GetStatus(), "error", why)
	s.held.remove(r.at, true)
}

// malformed replaces a report that the control plane finds malformed by a plain
// failure, and gives up one that is a plain failure already.
func (s *session) malformed(r *report, err error) (left []*report) {
	if r.bare {
		s.drop(r, err.Error())
		return nil
	}
	s.log.Error("report refused as malformed: reporting a failure instead", "task", r.at.key.task, "attempt", r.at.key.number, "error", err)
	return []*report{{at: r.at, result: r.at.Failed("the control plane refused the outcome of the attempt: " + err.Error()), bare: true}}
}
