package client

import (
	"context"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// ListEvents returns changes after a cursor, for which it waits at most req.Wait.
func (c *Client) ListEvents(ctx context.Context, req *v1.ListEventsRequest) (*v1.ListEventsResponse, error) {
	return call(ctx, c, method{name: "ListEvents", repeatable: true, wait: req.GetWait().AsDuration()}, req,
		func(s *server) unary[v1.ListEventsRequest, v1.ListEventsResponse] { return s.events.ListEvents })
}

// ExpiredCursor reports whether an error says that changes after a cursor are no
// longer kept, and from which cursors to go on: the oldest that is kept, and the
// newest change, for callers that read the state anew.
func ExpiredCursor(err error) (oldest, newest string, expired bool) {
	var failure *connect.Error
	if !errors.As(err, &failure) {
		return "", "", false
	}
	for _, d := range failure.Details() {
		value, bad := d.Value()
		if info, ok := value.(*errdetails.ErrorInfo); bad == nil && ok && info.GetReason() == "CURSOR_EXPIRED" {
			return info.GetMetadata()["oldest_cursor"], info.GetMetadata()["newest_cursor"], true
		}
	}
	return "", "", false
}
