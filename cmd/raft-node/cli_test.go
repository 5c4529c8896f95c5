package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

// member is a member whose answers a test sets; what is not set is not
// implemented.
type member struct {
	controlplanev1connect.UnimplementedTaskServiceHandler
	controlplanev1connect.UnimplementedNodeServiceHandler
	controlplanev1connect.UnimplementedQueueServiceHandler
	controlplanev1connect.UnimplementedClusterServiceHandler
	controlplanev1connect.UnimplementedQueryServiceHandler
	controlplanev1connect.UnimplementedEventServiceHandler

	url string

	submit     func(*v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error)
	get        func(*v1.GetTaskRequest) (*v1.GetTaskResponse, error)
	list       func(*v1.ListTasksRequest) (*v1.ListTasksResponse, error)
	cancel     func(*v1.CancelTaskRequest) (*v1.CancelTaskResponse, error)
	watch      func(context.Context, *v1.WatchTasksRequest, *connect.ServerStream[v1.WatchTasksResponse]) error
	events     func(context.Context, *v1.WatchEventsRequest, *connect.ServerStream[v1.WatchEventsResponse]) error
	listNodes  func(*v1.ListNodesRequest) (*v1.ListNodesResponse, error)
	getNode    func(*v1.GetNodeRequest) (*v1.GetNodeResponse, error)
	removeNode func(*v1.RemoveNodeRequest) (*v1.RemoveNodeResponse, error)
	nodeChange func(change, id string, deadline *durationpb.Duration) *v1.Node
	explain    func(*v1.ExplainTaskRequest) (*v1.ExplainTaskResponse, error)
	cluster    func(*v1.GetClusterRequest) (*v1.GetClusterResponse, error)
	join       func(*v1.JoinMemberRequest) (*v1.JoinMemberResponse, error)
	remove     func(*v1.RemoveMemberRequest) (*v1.RemoveMemberResponse, error)
	promote    func(*v1.PromoteMemberRequest) (*v1.PromoteMemberResponse, error)
	transfer   func(*v1.TransferLeadershipRequest) (*v1.TransferLeadershipResponse, error)
	snapshot   func(*v1.SnapshotRequest) (*v1.SnapshotResponse, error)
	verify     func(*v1.VerifyRequest) (*v1.VerifyResponse, error)
	backup     func(*v1.BackupRequest, *connect.ServerStream[v1.BackupResponse]) error
	query      func(*v1.QueryRequest) (*v1.QueryResponse, error)
	queues     queueMember
	cancelMany func(*v1.CancelTasksRequest) (*v1.CancelTasksResponse, error)
	submitMany func(*v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error)
	retry      func(*v1.RetryTaskRequest) (*v1.RetryTaskResponse, error)

	mu    sync.Mutex
	token string
}

func reply[Req, Res any](do func(*Req) (*Res, error), req *connect.Request[Req]) (*connect.Response[Res], error) {
	if do == nil {
		return nil, connect.NewError(connect.CodeUnimplemented, errors.New("not set by the test"))
	}
	res, err := do(req.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

func (m *member) SubmitTask(_ context.Context, r *connect.Request[v1.SubmitTaskRequest]) (*connect.Response[v1.SubmitTaskResponse], error) {
	return reply(m.submit, r)
}

func (m *member) SubmitTasks(_ context.Context, r *connect.Request[v1.SubmitTasksRequest]) (*connect.Response[v1.SubmitTasksResponse], error) {
	return reply(m.submitMany, r)
}

func (m *member) GetTask(_ context.Context, r *connect.Request[v1.GetTaskRequest]) (*connect.Response[v1.GetTaskResponse], error) {
	return reply(m.get, r)
}

func (m *member) ListTasks(_ context.Context, r *connect.Request[v1.ListTasksRequest]) (*connect.Response[v1.ListTasksResponse], error) {
	return reply(m.list, r)
}

func (m *member) CancelTask(_ context.Context, r *connect.Request[v1.CancelTaskRequest]) (*connect.Response[v1.CancelTaskResponse], error) {
	return reply(m.cancel, r)
}

func (m *member) WatchTasks(ctx context.Context, r *connect.Request[v1.WatchTasksRequest], s *connect.ServerStream[v1.WatchTasksResponse]) error {
	if m.watch == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return m.watch(ctx, r.Msg, s)
}

func (m *member) WatchEvents(ctx context.Context, r *connect.Request[v1.WatchEventsRequest], s *connect.ServerStream[v1.WatchEventsResponse]) error {
	if m.events == nil {
		if err := s.Send(&v1.WatchEventsResponse{Cursor: "1"}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	return m.events(ctx, r.Msg, s)
}

func (m *member) ListNodes(_ context.Context, r *connect.Request[v1.ListNodesRequest]) (*connect.Response[v1.ListNodesResponse], error) {
	return reply(m.listNodes, r)
}

func (m *member) GetNode(_ context.Context, r *connect.Request[v1.GetNodeRequest]) (*connect.Response[v1.GetNodeResponse], error) {
	return reply(m.getNode, r)
}

func (m *member) GetCluster(_ context.Context, r *connect.Request[v1.GetClusterRequest]) (*connect.Response[v1.GetClusterResponse], error) {
	return reply(m.cluster, r)
}

func (m *member) Query(_ context.Context, r *connect.Request[v1.QueryRequest]) (*connect.Response[v1.QueryResponse], error) {
	return reply(m.query, r)
}

func (m *member) JoinMember(_ context.Context, r *connect.Request[v1.JoinMemberRequest]) (*connect.Response[v1.JoinMemberResponse], error) {
	return reply(m.join, r)
}

func (m *member) RemoveMember(_ context.Context, r *connect.Request[v1.RemoveMemberRequest]) (*connect.Response[v1.RemoveMemberResponse], error) {
	return reply(m.remove, r)
}

func (m *member) PromoteMember(_ context.Context, r *connect.Request[v1.PromoteMemberRequest]) (*connect.Response[v1.PromoteMemberResponse], error) {
	return reply(m.promote, r)
}

func (m *member) TransferLeadership(_ context.Context, r *connect.Request[v1.TransferLeadershipRequest]) (*connect.Response[v1.TransferLeadershipResponse], error) {
	return reply(m.transfer, r)
}

func (m *member) Snapshot(_ context.Context, r *connect.Request[v1.SnapshotRequest]) (*connect.Response[v1.SnapshotResponse], error) {
	return reply(m.snapshot, r)
}

func (m *member) Verify(_ context.Context, r *connect.Request[v1.VerifyRequest]) (*connect.Response[v1.VerifyResponse], error) {
	return reply(m.verify, r)
}

func (m *member) Backup(_ context.Context, r *connect.Request[v1.BackupRequest], s *connect.ServerStream[v1.BackupResponse]) error {
	return m.backup(r.Msg, s)
}

// start serves m.
func (m *member) start(t *testing.T) *member {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(controlplanev1connect.NewTaskServiceHandler(m))
	mux.Handle(controlplanev1connect.NewNodeServiceHandler(m))
	mux.Handle(controlplanev1connect.NewClusterServiceHandler(m))
	mux.Handle(controlplanev1connect.NewQueryServiceHandler(m))
	mux.Handle(controlplanev1connect.NewQueueServiceHandler(m))
	mux.Handle(controlplanev1connect.NewEventServiceHandler(m))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		m.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	m.url = srv.URL
	return m
}

func (m *member) lastToken() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.token
}

// result is what a command line did.
type result struct {
	code     int
	out, err string
}

// cli runs a command line in this process.
func cli(t *testing.T, args ...string) result {
	t.Helper()
	return cliWith(t.Context(), "", args...)
}

func cliWith(ctx context.Context, in string, args ...string) result {
	var out, errs bytes.Buffer
	code := execute(ctx, args, &app{in: strings.NewReader(in), out: &out, err: &errs})
	return result{code, out.String(), errs.String()}
}

// at runs a command line against m.
func (m *member) at(t *testing.T, args ...string) result {
	t.Helper()
	return cli(t, append([]string{"--server", m.url}, args...)...)
}

// expect checks a result; each want must stand in the output it is for.
func (r result) expect(t *testing.T, code int, out, errs []string) {
	t.Helper()
	var lacks []string
	for _, want := range out {
		if !strings.Contains(r.out, want) {
			lacks = append(lacks, want)
		}
	}
	for _, want := range errs {
		if !strings.Contains(r.err, want) {
			lacks = append(lacks, want)
		}
	}
	if r.code != code || len(lacks) > 0 {
		t.Errorf("exit code = %d, want %d; lacks %q\noutput:\n%s\nstandard error:\n%s", r.code, code, lacks, r.out, r.err)
	}
}

// squeezed is r with one space where a table has several.
func (r result) squeezed() result {
	r.out = spaces.ReplaceAllString(r.out, " ")
	return r
}

var spaces = regexp.MustCompile(` {2,}`)

func refusal(code connect.Code, message string) error {
	return connect.NewError(code, errors.New(message))
}
