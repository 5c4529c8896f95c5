package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

var errSeen = errors.New("seen")

func getNothing(context.Context, *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
	return &v1.GetTaskResponse{Task: &v1.Task{Id: "a"}}, nil
}

// get reads a task once, without another attempt, in a call that goes with no others.
func get(t *testing.T, c *client.Client) {
	t.Helper()
	req := &v1.GetTaskRequest{Id: "a", Consistency: v1.Consistency_CONSISTENCY_STALE}
	if _, err := c.GetTask(testContext(t, 30*time.Second), req); err != nil {
		t.Error(err)
	}
}

func TestShortCallsByThemselvesTakeHTTP1(t *testing.T) {
	newFake := func() *fake {
		return &fake{submit: echo, get: getNothing,
			gets: func(*v1.GetTasksRequest) (*v1.GetTasksResponse, error) { return &v1.GetTasksResponse{}, nil },
			poll: func(*v1.PollTaskRequest) (*v1.PollTaskResponse, error) { return &v1.PollTaskResponse{}, nil },
			list: func(*v1.ListEventsRequest) (*v1.ListEventsResponse, error) { return &v1.ListEventsResponse{}, nil },
			reports: func(*v1.ReportTaskResultsRequest) (*v1.ReportTaskResultsResponse, error) {
				return &v1.ReportTaskResultsResponse{}, nil
			},
			watch: func(_ context.Context, _ *v1.WatchTasksRequest, s *stream) error {
				return s.Send(change("1", v1.TaskStatus_TASK_STATUS_COMPLETED))
			}}
	}
	plain, secure := newFake(), newFake()
	secureURL, trust := startTLS(t, secure)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	ctx := trace.ContextWithSpanContext(t.Context(), span)
	for _, tc := range []struct {
		name string
		fake *fake
		c    *client.Client
	}{
		{"cleartext", plain, newClient(t, []string{start(t, plain)}, client.WithToken("s3cret"))},
		{"tls", secure, newClient(t, []string{secureURL}, client.WithToken("s3cret"), client.WithTLS(trust))},
	} {
		for _, call := range []struct {
			name  string
			do    func() error
			major int
			kind  string
		}{
			{"SubmitTask", func() error { _, err := tc.c.SubmitTask(ctx, submission("a")); return err }, 1, "application/proto"},
			{"GetTask", func() error { _, err := tc.c.GetTask(ctx, &v1.GetTaskRequest{}); return err }, 1, "application/proto"},
			{"GetTasks", func() error { _, err := tc.c.GetTasks(ctx, &v1.GetTasksRequest{}); return err }, 1, "application/proto"},
			{"ReportTaskResults", func() error {
				_, err := tc.c.ReportTaskResults(ctx, &v1.ReportTaskResultsRequest{})
				return err
			}, 1, "application/proto"},
			// It is not repeatable, so it could not go on over HTTP/2.
			{"ReportTaskResults with a poll", func() error {
				_, err := tc.c.ReportTaskResults(ctx, &v1.ReportTaskResultsRequest{MaxTasks: 1})
				return err
			}, 2, "application/proto"},
			{"PollTask", func() error { _, err := tc.c.PollTask(ctx, &v1.PollTaskRequest{}); return err }, 2, "application/proto"},
			{"ListEvents that waits", func() error {
				_, err := tc.c.ListEvents(ctx, &v1.ListEventsRequest{Wait: durationpb.New(time.Second)})
				return err
			}, 2, "application/proto"},
			{"WatchTasks", func() error {
				if err := tc.c.WatchTasks(ctx, &v1.WatchTasksRequest{}, func(*v1.WatchTasksResponse) error { return errSeen }); !errors.Is(err, errSeen) {
					return err
				}
				return nil
			}, 2, "application/connect+proto"},
		} {
			if err := call.do(); err != nil {
				t.Fatalf("%s over %s: %v", call.name, tc.name, err)
			}
			r := tc.fake.lastRequest()
			if r.ProtoMajor != call.major || r.Header.Get("Content-Type") != call.kind {
				t.Errorf("%s over %s: %s, %s; want HTTP/%d, %s", call.name, tc.name, r.Proto, r.Header.Get("Content-Type"), call.major, call.kind)
			}
			if got := r.Header.Get("Authorization"); got != "Bearer s3cret" {
				t.Errorf("%s over %s: Authorization = %q", call.name, tc.name, got)
			}
			if got := r.Header.Get("Traceparent"); got != "00-01000000000000000000000000000000-0200000000000000-00" {
				t.Errorf("%s over %s: Traceparent = %q", call.name, tc.name, got)
			}
			if _, sent := r.Header["Idempotency-Key"]; sent {
				t.Errorf("%s over %s: what is for net/http alone went out", call.name, tc.name)
			}
		}
	}
}

// arrival is a request that waits to be let go on.
type arrival struct {
	major  int
	from   string
	letGo  chan struct{}
	closed <-chan struct{}
}

// atTheDoor serves f, and lets each request wait until the test lets it go on.
func atTheDoor(t *testing.T, f *fake) (string, chan arrival) {
	arrivals := make(chan arrival)
	h := f.handler()
	return startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body) // until then HTTP/1.1 does not look whether anybody waits
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		a := arrival{major: r.ProtoMajor, from: r.RemoteAddr, letGo: make(chan struct{}), closed: r.Context().Done()}
		arrivals <- a
		select {
		case <-a.letGo:
			h.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})), arrivals
}

func TestCallsBesideOthersTakeHTTP2(t *testing.T) {
	url, arrivals := atTheDoor(t, &fake{get: getNothing})
	c := newClient(t, []string{url}, client.WithoutRetries())
	const calls = client.LanesPerHost + 3
	var all sync.WaitGroup
	var waiting []arrival
	from := map[string]bool{} // connections of HTTP/1.1
	for i := range calls {
		all.Go(func() { get(t, c) })
		a := <-arrivals
		waiting = append(waiting, a)
		if want := 1; i < client.LanesPerHost && a.major != want || i >= client.LanesPerHost && a.major != 2 {
			t.Errorf("call %d beside so many others: HTTP/%d", i, a.major)
		}
		from[a.from] = a.major == 1
	}
	for _, a := range waiting {
		close(a.letGo)
	}
	all.Wait()
	for range 3 { // the lanes are free again, and kept
		all.Go(func() { get(t, c) })
		a := <-arrivals
		close(a.letGo)
		all.Wait()
		if a.major != 1 || !from[a.from] {
			t.Errorf("a later call by itself: HTTP/%d from %s, of lanes %v", a.major, a.from, from)
		}
	}
}

func TestALaneWithoutAnAnswerIsLeftForHTTP2(t *testing.T) {
	url, arrivals := atTheDoor(t, &fake{get: getNothing})
	c := newClient(t, []string{url}, client.WithoutRetries())
	client.LanesAnswerWithin(c, 10*time.Millisecond)
	var all sync.WaitGroup
	all.Go(func() { get(t, c) })
	first, second := <-arrivals, <-arrivals
	if first.major != 1 || second.major != 2 {
		t.Errorf("HTTP/%d, then HTTP/%d", first.major, second.major)
	}
	<-first.closed // nobody waits for it any more
	close(second.letGo)
	all.Wait()
	all.Go(func() { get(t, c) })
	third := <-arrivals
	close(third.letGo)
	all.Wait()
	if third.major != 2 {
		t.Errorf("the next call tries a lane that has just failed: HTTP/%d", third.major)
	}
}

// TestACallThatLeavesALaneSaysWhatTimeIsLeft: a server that waits for a leader answers
// shortly before the deadline that it was told.
func TestACallThatLeavesALaneSaysWhatTimeIsLeft(t *testing.T) {
	const all, silence = 30 * time.Second, 50 * time.Millisecond
	told := make(chan string, 2)
	f := &fake{get: getNothing}
	h := f.handler()
	url := startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told <- r.Header.Get("Connect-Timeout-Ms")
		if r.ProtoMajor == 1 {
			_, _ = io.Copy(io.Discard, r.Body) // only then it is seen that the lane is left
			<-r.Context().Done()
			return
		}
		h.ServeHTTP(w, r)
	}))
	c := newClient(t, []string{url}, client.WithoutRetries(), client.WithCallTimeout(all))
	client.LanesAnswerWithin(c, silence)
	if _, err := c.GetTask(t.Context(), &v1.GetTaskRequest{Id: "a", Consistency: v1.Consistency_CONSISTENCY_STALE}); err != nil {
		t.Fatal(err)
	}
	first, errFirst := strconv.Atoi(<-told)
	second, errSecond := strconv.Atoi(<-told)
	if errFirst != nil || errSecond != nil || second <= 0 || time.Duration(first-second)*time.Millisecond < silence-5*time.Millisecond {
		t.Errorf("the server was told of %d ms, and again of %d ms after %v", first, second, silence)
	}
}

// TestAServerThatIsStoppedIsLeft: one whose kernel takes what is sent, and that never answers.
func TestAServerThatIsStoppedIsLeft(t *testing.T) {
	t.Parallel() // it takes as long as HTTP/2's pings do
	stopped, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped.Close() })
	c := newClient(t, []string{"http://" + stopped.Addr().String(), start(t, &fake{get: getNothing})})
	client.LanesAnswerWithin(c, 10*time.Millisecond)
	began := time.Now()
	if _, err := c.GetTask(testContext(t, 4*time.Minute), &v1.GetTaskRequest{Id: "a"}); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > time.Minute { // by its share of the deadline alone it were two
		t.Errorf("the call went on after %v", d)
	}
}

// TestAKeptConnectionThatIsClosedIsNoError: of a server that closes it just as a request arrives.
func TestAKeptConnectionThatIsClosedIsNoError(t *testing.T) {
	f := &fake{get: getNothing}
	h, seen := f.handler(), map[string]bool{}
	closed := 0
	url := startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen[r.RemoteAddr] {
			closed++
			panic(http.ErrAbortHandler)
		}
		seen[r.RemoteAddr] = true
		h.ServeHTTP(w, r)
	}))
	c := newClient(t, []string{url}, client.WithoutRetries())
	for range 3 {
		get(t, c)
		if r := f.lastRequest(); r.ProtoMajor != 1 {
			t.Errorf("the call went by %s: its lane was taken for one that fails", r.Proto)
		}
	}
	if closed != 2 {
		t.Errorf("%d connections were closed as a request arrived, want 2", closed)
	}
}

func TestServersWithHTTP2Alone(t *testing.T) {
	f := &fake{get: getNothing}
	alone := httptest.NewUnstartedServer(f.handler())
	alone.Config.Protocols = new(http.Protocols)
	alone.Config.Protocols.SetUnencryptedHTTP2(true)
	alone.Start()
	t.Cleanup(alone.Close)
	urls := []string{alone.URL}
	h, refused := f.handler(), 0
	for status, kind := range map[int]string{
		464:                                "text/plain", // so a load balancer of AWS
		http.StatusBadGateway:              "application/json",
		http.StatusUpgradeRequired:         "application/json",
		http.StatusHTTPVersionNotSupported: "application/json; charset=utf-8",
	} {
		urls = append(urls, startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor == 1 {
				refused++
				w.Header().Set("Content-Type", kind)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, `{"message": "nothing to go on with"}`)
				return
			}
			h.ServeHTTP(w, r)
		})))
	}
	for _, url := range urls {
		c := newClient(t, []string{url}, client.WithoutRetries())
		for range 3 {
			get(t, c)
		}
	}
	if refused != len(urls)-1 {
		t.Errorf("%d proxies that have only HTTP/2 were asked %d times by HTTP/1.1, want each once", len(urls)-1, refused)
	}
}

// partly serves GetTask: over HTTP/1.1 in parts, before each of which it calls a function; over
// HTTP/2 at once. It counts the calls by HTTP/1.1 and by HTTP/2.
func partly(t *testing.T, before func(part int, r *http.Request)) (url string, calls *[3]atomic.Int32) {
	t.Helper()
	calls = new([3]atomic.Int32)
	body, err := proto.Marshal(&v1.GetTaskResponse{Task: &v1.Task{Id: "a", Result: make([]byte, 1<<20)}})
	if err != nil {
		t.Fatal(err)
	}
	return startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls[r.ProtoMajor].Add(1)
		_, _ = io.Copy(io.Discard, r.Body) // until then HTTP/1.1 does not look whether anybody waits
		w.Header().Set("Content-Type", "application/proto")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		const parts = 8
		for i := range parts {
			if r.ProtoMajor == 1 {
				before(i, r)
			}
			if _, err := w.Write(body[i*len(body)/parts : (i+1)*len(body)/parts]); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	})), calls
}

func TestALongAnswerOverALane(t *testing.T) {
	t.Parallel()                                          // it takes as long as it says
	const silence, all = 2 * time.Second, 3 * time.Second // the line is as slow as that
	url, calls := partly(t, func(int, *http.Request) { time.Sleep(all / 8) })
	c := newClient(t, []string{url}, client.WithoutRetries())
	client.LanesAnswerWithin(c, silence)
	res, err := c.GetTask(testContext(t, time.Minute), &v1.GetTaskRequest{Id: "a"})
	if len(res.GetTask().GetResult()) != 1<<20 || calls[1].Load() != 1 || calls[2].Load() != 0 {
		t.Errorf("%d bytes, %v, after %d calls by HTTP/1.1 and %d by HTTP/2", len(res.GetTask().GetResult()), err, calls[1].Load(), calls[2].Load())
	}
}

func TestAnAnswerOverALaneThatBreaksOff(t *testing.T) {
	url, calls := partly(t, func(part int, r *http.Request) {
		if part == 3 {
			<-r.Context().Done() // the caller has waited long enough
		}
	})
	c := newClient(t, []string{url})
	client.LanesAnswerWithin(c, 50*time.Millisecond)
	res, err := c.GetTask(testContext(t, time.Minute), &v1.GetTaskRequest{Id: "a"})
	if len(res.GetTask().GetResult()) != 1<<20 || calls[1].Load() != 1 || calls[2].Load() != 1 {
		t.Errorf("%d bytes, %v, after %d calls by HTTP/1.1 and %d by HTTP/2", len(res.GetTask().GetResult()), err, calls[1].Load(), calls[2].Load())
	}
}

// TestALaneThatIsSlowerThanItsCallerAllows is not tried again by the next.
func TestALaneThatIsSlowerThanItsCallerAllows(t *testing.T) {
	t.Parallel() // it takes as long as its caller allows, of which a busy machine may take a part
	url, calls := partly(t, func(_ int, r *http.Request) { <-r.Context().Done() })
	c := newClient(t, []string{url}, client.WithoutRetries())
	client.LanesAnswerWithin(c, 4*time.Second)
	if _, err := c.GetTask(testContext(t, 2500*time.Millisecond), &v1.GetTaskRequest{Id: "a"}); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("err = %v", err)
	}
	_, err := c.GetTask(testContext(t, time.Minute), &v1.GetTaskRequest{Id: "a"})
	if err != nil || calls[1].Load() != 1 || calls[2].Load() != 1 {
		t.Errorf("%v, after %d calls by HTTP/1.1 and %d by HTTP/2", err, calls[1].Load(), calls[2].Load())
	}
}

// TestARequestLeavesInOnePiece: of a message that is not known to be in memory net/http sends the
// headers by themselves, and the server wakes twice.
func TestARequestLeavesInOnePiece(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	came := make(chan string, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			came <- err.Error()
			return
		}
		defer conn.Close()
		p := make([]byte, 16<<10)
		n, _ := conn.Read(p)
		came <- string(p[:n])
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: 0\r\n\r\n")
	}()
	c := newClient(t, []string{"http://" + ln.Addr().String()}, client.WithoutRetries())
	get(t, c)
	if first := <-came; !strings.HasSuffix(first, "\r\n\r\n\n\x01a\x10\x02") {
		t.Errorf("what came first: %q, want it to end by the message", first)
	}
}

func TestErrorsOverLanesAreThoseOfTheServer(t *testing.T) {
	f := &fake{get: func(context.Context, *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		return nil, failure(connect.CodeNotFound)
	}}
	c := newClient(t, []string{start(t, f)})
	for range 2 {
		_, err := c.GetTask(t.Context(), &v1.GetTaskRequest{Id: "a"})
		if connect.CodeOf(err) != connect.CodeNotFound || f.lastRequest().ProtoMajor != 1 {
			t.Errorf("err = %v by %s", err, f.lastRequest().Proto)
		}
	}
}

func TestCloseClosesLanes(t *testing.T) {
	closed := make(chan struct{})
	srv := httptest.NewUnstartedServer((&fake{get: getNothing}).handler())
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	c := newClient(t, []string{srv.URL})
	get(t, c)
	c.Close()
	select {
	case <-closed:
	case <-testContext(t, 10*time.Second).Done():
		t.Error("the connection is still open")
	}
}
