package service

import (
	"context"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/tasklog"
)

// logPatience is how long the reading of a log goes on without an answer of the leader:
// another one has been elected by then, or none can be.
const logPatience = 10 * time.Second

// PushLogs implements LogService.
func (s *server) PushLogs(ctx context.Context, req *connect.Request[v1.PushLogsRequest]) (*connect.Response[v1.PushLogsResponse], error) {
	if err := checkChunks(req.Msg.GetChunks()); err != nil {
		return nil, err
	}
	return call[v1.PushLogsResponse]{
		header: req.Header(),
		poll:   true,
		here: func(context.Context) (*v1.PushLogsResponse, error) {
			return s.takeLogs(req.Msg)
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.PushLogsResponse], error) {
			return p.logs.PushLogs(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// takeLogs takes in what attempts of this leader's nodes have printed.
func (s *server) takeLogs(m *v1.PushLogsRequest) (*v1.PushLogsResponse, error) {
	attempts := make([]controlplane.Attempt, len(m.GetChunks()))
	keys := make([]tasklog.Attempt, len(m.GetChunks()))
	for i, c := range m.GetChunks() {
		attempts[i] = controlplane.Attempt{TaskID: c.GetTaskId(), Attempt: c.GetAttempt()}
		keys[i] = tasklog.Attempt{TaskID: c.GetTaskId(), Number: c.GetAttempt()}
	}
	refusals, err := s.Scheduler.CheckHeld(m.GetNodeId(), m.GetSessionId(), attempts)
	if err != nil {
		return nil, err
	}
	res := &v1.PushLogsResponse{Outcomes: make([]*v1.LogOutcome, len(keys))}
	for i, c := range m.GetChunks() {
		if refusals[i] != nil {
			res.Outcomes[i] = &v1.LogOutcome{Outcome: &v1.LogOutcome_Error{Error: s.itemError("PushLogs", refusals[i])}}
			continue
		}
		next := s.logs.Push(keys[i], c.GetOffset(), c.GetOldestOffset(), c.GetText())
		res.Outcomes[i] = &v1.LogOutcome{Outcome: &v1.LogOutcome_NextOffset{NextOffset: next}}
	}
	s.logs.Sweep(func(a tasklog.Attempt) bool {
		return s.Scheduler.IsHeld(controlplane.Attempt{TaskID: a.TaskID, Attempt: a.Number})
	})
	res.Interval = durationpb.New(s.logs.Interval(keys))
	return res, nil
}

// logKept says that an attempt has been reported with the end of its log.
func (s *server) logKept(taskID string, attempt int32, err error) {
	if err == nil {
		s.logs.End(tasklog.Attempt{TaskID: taskID, Number: attempt})
	}
}

// ReadLog implements LogService.
func (s *server) ReadLog(ctx context.Context, req *connect.Request[v1.ReadLogRequest]) (*connect.Response[v1.ReadLogResponse], error) {
	m := req.Msg
	if err := checkLogStart(m.GetAttempt(), m.GetOffset()); err != nil {
		return nil, err
	}
	ctx, cancel := untilClosing(ctx)
	defer cancel()
	q := logQuery{task: m.GetTaskId(), attempt: m.GetAttempt(), offset: m.GetOffset()}
	part, err := s.readLog(ctx, req.Header(), q, countdown(m.GetWait()))
	if err != nil && isClosing(ctx) {
		part, err = q.nothing(), nil // read on, elsewhere
	}
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&v1.ReadLogResponse{Part: part}), nil
}

// TailLog implements LogService. It is made of the same reads, so that it goes on by
// itself when another member becomes the leader, and nothing is queued for a reader: one
// that is slow is told what was dropped meanwhile.
func (s *server) TailLog(ctx context.Context, req *connect.Request[v1.TailLogRequest], stream *connect.ServerStream[v1.TailLogResponse]) error {
	m := req.Msg
	if err := checkLogStart(m.GetAttempt(), m.GetOffset()); err != nil {
		return err
	}
	ctx, cancel := untilClosing(ctx)
	defer cancel()
	defer setWriteDeadline(ctx, time.Time{})
	q := logQuery{task: m.GetTaskId(), attempt: m.GetAttempt(), offset: m.GetOffset()}
	for wait := time.Duration(0); ; wait = s.watchTimes.heartbeat { // what is held comes at once
		part, err := s.readLog(ctx, http.Header{}, q, countdown(durationpb.New(wait)))
		if err != nil {
			if isClosing(ctx) {
				return errLogStopping
			}
			return err
		}
		setWriteDeadline(ctx, time.Now().Add(s.watchTimes.cut))
		if err := stream.Send(&v1.TailLogResponse{Part: part}); err != nil || part.GetEnded() {
			return err
		}
		if part.GetAttempt() > 0 {
			q.attempt, q.offset = part.GetAttempt(), part.GetNextOffset()
		}
	}
}

var errLogStopping = &controlplane.Error{Code: controlplane.CodeUnavailable,
	Message: "this member is stopping: go on at another one from next_offset of the last message"}

// logQuery is where a reader stands.
type logQuery struct {
	task    string
	attempt int32
	offset  int64
}

// nothing is an answer by which the reader stays where it is.
func (q logQuery) nothing() *v1.LogPart {
	return &v1.LogPart{Attempt: q.attempt, Offset: q.offset, NextOffset: q.offset}
}

// readLog asks the leader, and a new one when that is lost.
func (s *server) readLog(ctx context.Context, h http.Header, q logQuery, left func() time.Duration) (*v1.LogPart, error) {
	patience, cancel := context.WithTimeout(ctx, left()+logPatience)
	defer cancel()
	for w := (&wait{inner: patience}); ; {
		res, err := s.logCall(h, q, left).do(ctx, s)
		if err == nil {
			return res.Msg.GetPart(), nil
		}
		if h.Get(hopHeader) != "" || !isUnavailable(err) || !w.pause() {
			return nil, err
		}
	}
}

func (s *server) logCall(h http.Header, q logQuery, left func() time.Duration) call[v1.ReadLogResponse] {
	return call[v1.ReadLogResponse]{
		header: h,
		poll:   true,
		here: func(ctx context.Context) (*v1.ReadLogResponse, error) {
			part, err := s.readLogHere(ctx, q, left)
			if err != nil {
				return nil, err
			}
			return &v1.ReadLogResponse{Part: part}, nil
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.ReadLogResponse], error) {
			return p.logs.ReadLog(ctx, connect.NewRequest(&v1.ReadLogRequest{
				TaskId: q.task, Attempt: q.attempt, Offset: q.offset, Wait: durationpb.New(left())}))
		},
	}
}
