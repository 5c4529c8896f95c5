package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

// fake is a member whose answers a test sets. A method whose function is nil is
// not implemented.
type fake struct {
	controlplanev1connect.UnimplementedTaskServiceHandler
	controlplanev1connect.UnimplementedNodeServiceHandler
	controlplanev1connect.UnimplementedEventServiceHandler

	submit  func(*v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error)
	submits func(*v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error)
	get     func(context.Context, *v1.GetTaskRequest) (*v1.GetTaskResponse, error)
	gets    func(*v1.GetTasksRequest) (*v1.GetTasksResponse, error)
	watch   func(context.Context, *v1.WatchTasksRequest, *connect.ServerStream[v1.WatchTasksResponse]) error
	events  func(context.Context, *v1.WatchEventsRequest, *connect.ServerStream[v1.WatchEventsResponse]) error
	list    func(*v1.ListEventsRequest) (*v1.ListEventsResponse, error)
	poll    func(*v1.PollTaskRequest) (*v1.PollTaskResponse, error)
	reports func(*v1.ReportTaskResultsRequest) (*v1.ReportTaskResultsResponse, error)

	calls atomic.Int64
	mu    sync.Mutex
	last  *http.Request
}

func answer[Req, Res any](do func(*Req) (*Res, error), req *connect.Request[Req]) (*connect.Response[Res], error) {
	if do == nil {
		return nil, connect.NewError(connect.CodeUnimplemented, errors.New("not set by the test"))
	}
	res, err := do(req.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

func (f *fake) SubmitTask(_ context.Context, r *connect.Request[v1.SubmitTaskRequest]) (*connect.Response[v1.SubmitTaskResponse], error) {
	return answer(f.submit, r)
}

func (f *fake) SubmitTasks(_ context.Context, r *connect.Request[v1.SubmitTasksRequest]) (*connect.Response[v1.SubmitTasksResponse], error) {
	return answer(f.submits, r)
}

func (f *fake) GetTask(ctx context.Context, r *connect.Request[v1.GetTaskRequest]) (*connect.Response[v1.GetTaskResponse], error) {
	return answer(func(m *v1.GetTaskRequest) (*v1.GetTaskResponse, error) { return f.get(ctx, m) }, r)
}

func (f *fake) GetTasks(_ context.Context, r *connect.Request[v1.GetTasksRequest]) (*connect.Response[v1.GetTasksResponse], error) {
	return answer(f.gets, r)
}

func (f *fake) WatchTasks(ctx context.Context, r *connect.Request[v1.WatchTasksRequest], s *connect.ServerStream[v1.WatchTasksResponse]) error {
	if f.watch == nil {
		return connect.NewError(connect.CodeUnimplemented, errors.New("not set by the test"))
	}
	return f.watch(ctx, r.Msg, s)
}

func (f *fake) WatchEvents(ctx context.Context, r *connect.Request[v1.WatchEventsRequest], s *connect.ServerStream[v1.WatchEventsResponse]) error {
	return f.events(ctx, r.Msg, s)
}

func (f *fake) ListEvents(_ context.Context, r *connect.Request[v1.ListEventsRequest]) (*connect.Response[v1.ListEventsResponse], error) {
	return answer(f.list, r)
}

func (f *fake) PollTask(_ context.Context, r *connect.Request[v1.PollTaskRequest]) (*connect.Response[v1.PollTaskResponse], error) {
	return answer(f.poll, r)
}

func (f *fake) ReportTaskResults(_ context.Context, r *connect.Request[v1.ReportTaskResultsRequest]) (*connect.Response[v1.ReportTaskResultsResponse], error) {
	return answer(f.reports, r)
}

// handler counts and keeps the request on its way to the handlers.
func (f *fake) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(controlplanev1connect.NewTaskServiceHandler(f))
	mux.Handle(controlplanev1connect.NewNodeServiceHandler(f))
	mux.Handle(controlplanev1connect.NewEventServiceHandler(f))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.calls.Add(1)
		f.mu.Lock()
		f.last = r
		f.mu.Unlock()
		mux.ServeHTTP(w, r)
	})
}

func (f *fake) lastRequest() *http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// start serves f over cleartext HTTP/2 and returns its URL.
func start(t *testing.T, f *fake) string {
	t.Helper()
	return startHandler(t, f.handler())
}

func startHandler(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}

// startTLS serves f over TLS and returns its URL and what a client must trust.
func startTLS(t *testing.T, f *fake) (string, *tls.Config) {
	t.Helper()
	srv := httptest.NewUnstartedServer(f.handler())
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = quiet()
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL, srv.Client().Transport.(*http.Transport).TLSClientConfig
}

// nobody returns a URL at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// hangsUp returns the address of a server that closes each connection on the first bytes.
func hangsUp(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096)) // else the end would be a reset
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func newClient(t *testing.T, urls []string, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(urls, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func testContext(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func failure(code connect.Code) error {
	return connect.NewError(code, errors.New("as the test wants it"))
}

func exhausted(t *testing.T, after time.Duration) error {
	t.Helper()
	err := connect.NewError(connect.CodeResourceExhausted, errors.New("too much is waiting"))
	detail, bad := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	if bad != nil {
		t.Fatal(bad)
	}
	err.AddDetail(detail)
	return err
}
