package client

import (
	"context"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// ReadLog returns what there is of the log of an attempt, for which it waits at most
// req.Wait.
func (c *Client) ReadLog(ctx context.Context, req *v1.ReadLogRequest) (*v1.LogPart, error) {
	res, err := call(ctx, c, method{name: "ReadLog", repeatable: true, wait: req.GetWait().AsDuration()}, req,
		func(s *server) unary[v1.ReadLogRequest, v1.ReadLogResponse] { return s.logs.ReadLog })
	return res.GetPart(), err
}

// PushLogs sends what attempts of a node have printed. Workers do so by themselves.
func (c *Client) PushLogs(ctx context.Context, req *v1.PushLogsRequest) (*v1.PushLogsResponse, error) {
	return call(ctx, c, method{name: "PushLogs", repeatable: true, short: true}, req,
		func(s *server) unary[v1.PushLogsRequest, v1.PushLogsResponse] { return s.logs.PushLogs })
}

// TailLog calls f for each part of the log of an attempt, in order: what is held when it
// begins, and then what comes, until the attempt has ended (nil), ctx ends, f returns an
// error (which is returned as it is), or the control plane refuses. When a member is lost
// it goes on at the next one behind the last part that f got, so nothing comes twice; what
// is missing is told in DroppedBytes. Parts without text are signs of life.
func (c *Client) TailLog(ctx context.Context, req *v1.TailLogRequest, f func(*v1.LogPart) error) error {
	req = proto.CloneOf(req)
	r := c.newRetry(method{name: "TailLog", repeatable: true})
	for {
		index, srv := c.pick()
		over, err := tailOnce(ctx, srv, r, req, f)
		if over {
			return err
		}
		if err := r.next(ctx, index, srv, err); err != nil {
			return err
		}
	}
}

// tailOnce runs one stream and moves the request along. It reports whether the log, or f,
// has ended it.
func tailOnce(ctx context.Context, srv *server, r *retry, req *v1.TailLogRequest, f func(*v1.LogPart) error) (over bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(silenceMax, cancel)
	defer silence.Stop()
	stream, err := srv.logs.TailLog(ctx, connect.NewRequest(req))
	if err != nil {
		return false, err
	}
	defer stream.Close() //nolint:errcheck // what was received counts
	for stream.Receive() {
		silence.Stop()
		r.progressed()
		p := stream.Msg().GetPart()
		if err := f(p); err != nil || p.GetEnded() {
			return true, err
		}
		if p.GetAttempt() > 0 {
			req.Attempt, req.Offset = p.GetAttempt(), p.GetNextOffset()
		}
		silence.Reset(silenceMax)
	}
	if err := stream.Err(); err != nil {
		return false, err
	}
	return false, connect.NewWireError(connect.CodeUnavailable, errStreamEnded)
}

// FollowLogs is TailLog for a task: it begins with the attempt that is asked for, or the
// present or last one, and goes on with those that follow until the task has ended.
func (c *Client) FollowLogs(ctx context.Context, req *v1.TailLogRequest, f func(*v1.LogPart) error) error {
	req = proto.CloneOf(req)
	for next := false; ; next = true {
		var last *v1.LogPart
		err := c.TailLog(ctx, req, func(p *v1.LogPart) error { last = p; return f(p) })
		if err != nil {
			if next && connect.CodeOf(err) == connect.CodeNotFound {
				return nil // it has ended without another attempt
			}
			return err
		}
		if Final(last.GetTaskStatus()) {
			return nil
		}
		req.Attempt, req.Offset = last.GetAttempt()+1, 0
	}
}

// Logs writes what the task prints to w while it runs, attempt after attempt, until its
// end, ctx, or an error of w. A line in brackets stands for what was dropped because more
// was printed than is held, the last 64 KiB.
func (j *Job[Result]) Logs(ctx context.Context, w io.Writer) error {
	return j.client.FollowLogs(ctx, &v1.TailLogRequest{TaskId: j.id}, func(p *v1.LogPart) error {
		text := p.GetText()
		if p.GetDroppedBytes() > 0 {
			text = fmt.Sprintf("[%d bytes are not held any more]\n", p.GetDroppedBytes()) + text
		}
		if text == "" { // a sign of life
			return nil
		}
		_, err := io.WriteString(w, text)
		return err
	})
}
