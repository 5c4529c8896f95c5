package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

type eventStream = connect.ServerStream[v1.WatchEventsResponse]

func TestWatchOfEventsResumesWithItsFilters(t *testing.T) {
	one := &fake{events: func(_ context.Context, _ *v1.WatchEventsRequest, s *eventStream) error {
		if err := s.Send(&v1.WatchEventsResponse{Cursor: "1"}); err != nil {
			return err
		}
		return failure(connect.CodeUnavailable)
	}}
	var resumed *v1.WatchEventsRequest
	two := &fake{events: func(ctx context.Context, r *v1.WatchEventsRequest, s *eventStream) error {
		resumed = r
		if err := s.Send(&v1.WatchEventsResponse{Cursor: "2"}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	c := newClient(t, []string{start(t, one), start(t, two)})
	req := &v1.WatchEventsRequest{Cursor: "0", NodeId: "n", Types: []v1.EventType{v1.EventType_EVENT_TYPE_NODE_BACK}}
	var got []string
	done := errors.New("enough")
	err := c.WatchEvents(testContext(t, 20*time.Second), req, func(m *v1.WatchEventsResponse) error {
		if got = append(got, m.GetCursor()); len(got) == 2 {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) || !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %q, %v", got, err)
	}
	if resumed.GetCursor() != "1" || resumed.GetNodeId() != "n" || len(resumed.GetTypes()) != 1 || req.GetCursor() != "0" {
		t.Errorf("resumed with %v, the caller's message is %v", resumed, req)
	}
}

func TestAnExpiredCursorIsToldApart(t *testing.T) {
	refused := failure(connect.CodeOutOfRange)
	var ce *connect.Error
	if !errors.As(refused, &ce) {
		t.Fatal(refused)
	}
	detail, err := connect.NewErrorDetail(&errdetails.ErrorInfo{Reason: "CURSOR_EXPIRED", Metadata: map[string]string{"oldest_cursor": "5-1", "newest_cursor": "9-2"}})
	if err != nil {
		t.Fatal(err)
	}
	ce.AddDetail(detail)
	f := &fake{list: func(*v1.ListEventsRequest) (*v1.ListEventsResponse, error) { return nil, ce }}
	c := newClient(t, []string{start(t, f), nobody(t)})
	_, err = c.ListEvents(testContext(t, 20*time.Second), &v1.ListEventsRequest{Cursor: "1-1"})
	if oldest, newest, expired := client.ExpiredCursor(err); !expired || oldest != "5-1" || newest != "9-2" || f.calls.Load() != 1 {
		t.Errorf("%v: %q, %q, %v after %d calls", err, oldest, newest, expired, f.calls.Load())
	}
	if _, _, expired := client.ExpiredCursor(failure(connect.CodeOutOfRange)); expired {
		t.Error("another error passes for an expired cursor")
	}
}
