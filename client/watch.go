package client

import (
	"context"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// silenceMax is how long a watch may be silent: servers give a sign of life at
// least every 10 s.
const silenceMax = 25 * time.Second

// WatchTasks calls f for each message of a watch, in order, until ctx ends, f
// returns an error (which is returned as it is), or the control plane refuses.
// When a server is lost it goes on at the next one after the last message that
// f got, so nothing is left out and nothing comes twice. Signs of life, which
// carry no event, are passed on as well.
//
// One gap cannot be closed from here: with an empty cursor, changes between the
// call and the first message are missed if the server is lost in between.
func (c *Client) WatchTasks(ctx context.Context, req *v1.WatchTasksRequest, f func(*v1.WatchTasksResponse) error) error {
	req = &v1.WatchTasksRequest{
		Cursor: req.GetCursor(), TaskIds: req.GetTaskIds(), Queue: req.GetQueue(), NodeId: req.GetNodeId(),
	}
	r := c.newRetry(method{name: "WatchTasks", repeatable: true})
	for {
		index, srv := c.pick()
		stopped, err := watchOnce(ctx, srv, req, r, f)
		if stopped {
			return err
		}
		if err := r.next(ctx, index, srv, err); err != nil {
			return err
		}
	}
}

// watchOnce runs one stream and moves the cursor of req along. It reports
// whether f ended it.
func watchOnce(ctx context.Context, srv *server, req *v1.WatchTasksRequest, r *retry, f func(*v1.WatchTasksResponse) error) (stopped bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(silenceMax, cancel)
	defer silence.Stop()
	stream, err := srv.tasks.WatchTasks(ctx, connect.NewRequest(req))
	if err != nil {
		return false, err
	}
	defer stream.Close() //nolint:errcheck // what was received counts
	received := false
	defer func() {
		if received {
			r.progressed()
		}
	}()
	for stream.Receive() {
		silence.Stop()
		received = true
		if err := f(stream.Msg()); err != nil {
			return true, err
		}
		req.Cursor = stream.Msg().GetCursor()
		silence.Reset(silenceMax)
	}
	if err := stream.Err(); err != nil {
		return false, err
	}
	// A watch has no end of its own: the server is shutting down.
	return false, connect.NewWireError(connect.CodeUnavailable, errStreamEnded)
}
