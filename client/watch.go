package client

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

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
	req = proto.CloneOf(req)
	return watch(ctx, c, "WatchTasks", f, &req.Cursor,
		func(ctx context.Context, s *server) (*connect.ServerStreamForClient[v1.WatchTasksResponse], error) {
			return s.tasks.WatchTasks(ctx, connect.NewRequest(req))
		})
}

// WatchEvents is WatchTasks for all changes, of tasks and of nodes.
func (c *Client) WatchEvents(ctx context.Context, req *v1.WatchEventsRequest, f func(*v1.WatchEventsResponse) error) error {
	req = proto.CloneOf(req)
	return watch(ctx, c, "WatchEvents", f, &req.Cursor,
		func(ctx context.Context, s *server) (*connect.ServerStreamForClient[v1.WatchEventsResponse], error) {
			return s.events.WatchEvents(ctx, connect.NewRequest(req))
		})
}

// opener opens a stream at one server.
type opener[Msg any] func(context.Context, *server) (*connect.ServerStreamForClient[Msg], error)

// message is a message of a watch.
type message[Msg any] interface {
	*Msg
	GetCursor() string
}

// watch goes from server to server; cursor is where the next stream begins.
func watch[Msg any, M message[Msg]](ctx context.Context, c *Client, name string, f func(M) error, cursor *string, open opener[Msg]) error {
	r := c.newRetry(method{name: name, repeatable: true})
	for {
		index, srv := c.pick()
		stopped, err := watchOnce(ctx, srv, r, f, cursor, open)
		if stopped {
			return err
		}
		if err := r.next(ctx, index, srv, err); err != nil {
			return err
		}
	}
}

// watchOnce runs one stream and moves the cursor along. It reports whether f ended
// it.
func watchOnce[Msg any, M message[Msg]](ctx context.Context, srv *server, r *retry, f func(M) error, cursor *string, open opener[Msg]) (stopped bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(silenceMax, cancel)
	defer silence.Stop()
	stream, err := open(ctx, srv)
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
		m := M(stream.Msg())
		if err := f(m); err != nil {
			return true, err
		}
		*cursor = m.GetCursor()
		silence.Reset(silenceMax)
	}
	if err := stream.Err(); err != nil {
		return false, err
	}
	// A watch has no end of its own: the server is shutting down.
	return false, connect.NewWireError(connect.CodeUnavailable, errStreamEnded)
}
