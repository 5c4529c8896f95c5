package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane/client"
	"github.com/raft-control-plane/control-plane/clienttest"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

// reader passes on what is written to it.
type reader struct {
	all   strings.Builder
	wrote func(all string)
}

func (r *reader) Write(p []byte) (int, error) {
	n, err := r.all.Write(p)
	r.wrote(r.all.String())
	return n, err
}

// TestLogsAreReadWhileAFunctionRuns has a function go on only once its line was read.
func TestLogsAreReadWhileAFunctionRuns(t *testing.T) {
	p := clienttest.New(t)
	w := testWorker(p.Client, "w1")
	read := make(chan struct{})
	client.Register(w, "talk", func(ctx context.Context, _ int) (int, error) {
		n := client.AttemptOf(ctx).Task.GetAttempt()
		_, _ = io.WriteString(client.Output(ctx), fmt.Sprintf("attempt %d\n", n))
		if n == 1 {
			<-read
			return 0, client.RetryAfter(errors.New("once more"), time.Millisecond)
		}
		return 0, nil
	})
	run(t, w)
	j := submit[int, int](t, p, "talk", 0, client.WithAttempts(2))
	out := &reader{wrote: func(all string) {
		if all == "attempt 1\n" {
			close(read)
		}
	}}
	if err := j.Logs(patient(t), out); err != nil || out.all.String() != "attempt 1\nattempt 2\n" {
		t.Errorf("%q, %v", out.all.String(), err)
	}
}

// logServer is a member that streams what it is told to.
type logServer struct {
	controlplanev1connect.UnimplementedLogServiceHandler
	asked chan *v1.TailLogRequest
	parts []*v1.LogPart
}

func (s *logServer) TailLog(_ context.Context, req *connect.Request[v1.TailLogRequest], stream *connect.ServerStream[v1.TailLogResponse]) error {
	s.asked <- req.Msg
	for _, p := range s.parts {
		if err := stream.Send(&v1.TailLogResponse{Part: p}); err != nil {
			return err
		}
	}
	return connect.NewError(connect.CodeUnavailable, errors.New("stopping"))
}

func serveLogs(t *testing.T, parts ...*v1.LogPart) (*logServer, string) {
	s := &logServer{asked: make(chan *v1.TailLogRequest, 10), parts: parts}
	mux := http.NewServeMux()
	mux.Handle(controlplanev1connect.NewLogServiceHandler(s))
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return s, srv.URL
}

func TestTailLogGoesOnAtAnotherMember(t *testing.T) {
	first, url1 := serveLogs(t, &v1.LogPart{Attempt: 3, Text: "one", NextOffset: 3})
	second, url2 := serveLogs(t, &v1.LogPart{Attempt: 3, Offset: 3, NextOffset: 3}, &v1.LogPart{Attempt: 3, Offset: 3, Text: "two", NextOffset: 6, Ended: true})
	c, err := client.New([]string{url1, url2})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var text string
	err = c.TailLog(patient(t), &v1.TailLogRequest{TaskId: "a"}, func(p *v1.LogPart) error { text += p.GetText(); return nil })
	if err != nil || text != "onetwo" {
		t.Errorf("%q, %v", text, err)
	}
	if q := <-first.asked; q.GetAttempt() != 0 || q.GetOffset() != 0 {
		t.Errorf("the first member was asked for %v", q)
	}
	if q := <-second.asked; q.GetTaskId() != "a" || q.GetAttempt() != 3 || q.GetOffset() != 3 {
		t.Errorf("the second member was asked for %v", q)
	}
	enough := errors.New("enough")
	if err := c.TailLog(patient(t), &v1.TailLogRequest{TaskId: "a"}, func(*v1.LogPart) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("an error of the caller: %v", err)
	}
}
