package client_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func echo(r *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
	return &v1.SubmitTaskResponse{Task: r.GetTask()}, nil
}

func submission(name string) *v1.SubmitTaskRequest {
	return &v1.SubmitTaskRequest{Task: &v1.Task{Name: name}}
}

func TestCompression(t *testing.T) {
	f := &fake{submit: echo}
	here := start(t, f)
	elsewhere := strings.Replace(here, "127.0.0.1", "0.0.0.0", 1) // leads here, and does not look like it
	for _, tc := range []struct {
		what, server string
		opts         []client.Option
		bytes        int
		sent, wanted string
	}{
		{"short, to another machine", elsewhere, nil, 100, "", "gzip"},
		{"long, to another machine", elsewhere, nil, 2000, "gzip", "gzip"},
		{"told not to", elsewhere, []client.Option{client.WithoutCompression()}, 2000, "", "identity"},
		{"to this machine", here, nil, 2000, "", "identity"},
	} {
		if _, err := newClient(t, []string{tc.server}, tc.opts...).SubmitTask(t.Context(), submission(strings.Repeat("x", tc.bytes))); err != nil {
			t.Fatal(err)
		}
		h := f.lastRequest().Header
		if got := h.Get("Content-Encoding"); got != tc.sent {
			t.Errorf("%s: Content-Encoding = %q, want %q", tc.what, got, tc.sent)
		}
		if got := h.Get("Accept-Encoding"); got != tc.wanted {
			t.Errorf("%s: Accept-Encoding = %q, want %q", tc.what, got, tc.wanted)
		}
	}
}

func TestUntrustedCertificateIsNotRetried(t *testing.T) {
	url, _ := startTLS(t, &fake{submit: echo})
	start := time.Now()
	_, err := newClient(t, []string{url}).SubmitTask(testContext(t, 20*time.Second), submission("a"))
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("err = %v, want one about the certificate", err)
	}
	if time.Since(start) > 10*time.Second {
		t.Error("it was tried again until the deadline")
	}
}

func TestSubmissionsGetAKey(t *testing.T) {
	var seen []*v1.SubmitTaskRequest
	f := &fake{
		submit: func(r *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
			seen = append(seen, r)
			return echo(r)
		},
		submits: func(r *v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error) {
			seen = append(seen, r.GetRequests()...)
			return &v1.SubmitTasksResponse{}, nil
		},
	}
	c := newClient(t, []string{start(t, f)})
	bare := submission("bare")
	withID := &v1.SubmitTaskRequest{Task: &v1.Task{Id: "t1"}}
	withKey := &v1.SubmitTaskRequest{Task: &v1.Task{Name: "k"}, RequestId: "mine"}
	before := proto.Clone(bare)
	for _, r := range []*v1.SubmitTaskRequest{bare, withID, withKey} {
		if _, err := c.SubmitTask(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	batch := &v1.SubmitTasksRequest{Requests: []*v1.SubmitTaskRequest{bare, withID, withKey, bare}}
	if _, err := c.SubmitTasks(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(bare, before) {
		t.Errorf("the caller's message was changed: %v", bare)
	}
	jobs, err := client.SubmitAll[int, int](t.Context(), c, "f", []int{1}) // the fake has no outcomes for it
	if err == nil {
		t.Errorf("%d jobs of no outcomes", len(jobs))
	}
	if _, err := client.Submit[int, int](t.Context(), c, "f", 1); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for i, want := range []string{"*", "t1", "", "*", "t1", "", "*", "*", "*"} {
		id, key := seen[i].GetTask().GetId(), seen[i].GetRequestId()
		if made := want == "*"; made != (len(id) == 36) || !made && id != want || (key == "mine") != (want == "") || key != "" && key != "mine" {
			t.Errorf("request %d: id = %q, request_id = %q, want %q", i, id, key, want)
		}
		if typed := i >= 7; seen[i].GetIdOnly() != typed { // what Submit and SubmitAll return is an id
			t.Errorf("request %d: id_only = %v", i, seen[i].GetIdOnly())
		}
		if len(id) == 36 && ids[id] {
			t.Errorf("request %d: another one has the id %s too", i, id)
		}
		ids[id] = true
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for _, tc := range []struct {
		servers []string
		token   string
		want    string
	}{
		{nil, "", "no server given"},
		{[]string{""}, "", "is no URL"},
		{[]string{"ftp://h:1"}, "", "http or https"},
		{[]string{"http://u:pw@h:1"}, "", "only scheme, host, port and path"},
		{[]string{"http://h:1"}, "two\nlines", "the token holds"},
	} {
		_, err := client.New(tc.servers, client.WithToken(tc.token))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("New(%q): err = %v, want %q", tc.servers, err, tc.want)
		} else if strings.Contains(err.Error(), "pw") || strings.Contains(err.Error(), "lines\"") {
			t.Errorf("New(%q) shows a secret: %v", tc.servers, err)
		}
	}
	c := newClient(t, []string{"a:1", "http://a:1/", "https://b/base/"})
	if got := strings.Join(c.Servers(), " "); got != "http://a:1 https://b/base" {
		t.Errorf("Servers() = %s", got)
	}
}

func TestNobodyListens(t *testing.T) {
	urls := []string{nobody(t), nobody(t)}
	for name, c := range map[string]*client.Client{
		"patience":     newClient(t, urls, client.WithPatience(100*time.Millisecond)),
		"call timeout": newClient(t, urls, client.WithCallTimeout(300*time.Millisecond)),
	} {
		_, err := c.SubmitTask(t.Context(), submission("a"))
		unreachable, ok := errors.AsType[*client.UnreachableError](err)
		if !ok || len(unreachable.Servers) != 2 {
			t.Fatalf("%s: err = %v, want an UnreachableError that names both servers", name, err)
		}
		if connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("%s: code = %v, want unavailable", name, connect.CodeOf(err))
		}
	}
}

func TestServerThatHangsUpGivesNoAnswer(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		c := newClient(t, []string{scheme + "://" + hangsUp(t)}, client.WithPatience(100*time.Millisecond))
		began := time.Now()
		_, err := c.SubmitTask(testContext(t, 30*time.Second), submission("a"))
		if _, ok := errors.AsType[*client.UnreachableError](err); !ok {
			t.Errorf("%s: err = %v, want an UnreachableError", scheme, err)
		}
		if d := time.Since(began); d > 15*time.Second {
			t.Errorf("%s: gave up after %v", scheme, d)
		}
	}
}

func TestCancelledCallSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{get: func(context.Context, *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		cancel()
		return nil, failure(connect.CodeUnavailable)
	}}
	other := &fake{}
	c := newClient(t, []string{start(t, f), start(t, other)})
	_, err := c.GetTask(ctx, &v1.GetTaskRequest{Id: "x"})
	if connect.CodeOf(err) != connect.CodeCanceled || !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want canceled", err)
	}
	f.get = func(context.Context, *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		return &v1.GetTaskResponse{}, nil
	}
	if _, err := c.GetTask(testContext(t, 10*time.Second), &v1.GetTaskRequest{Id: "x"}); err != nil {
		t.Error(err)
	}
	if other.calls.Load() != 0 {
		t.Error("the client left a server because the caller gave up")
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	other := &fake{submit: echo}
	otherURL := start(t, other)
	url := startHandler(t, http.RedirectHandler(otherURL, http.StatusTemporaryRedirect))
	_, err := newClient(t, []string{url}, client.WithToken("s3cret")).SubmitTask(testContext(t, 5*time.Second), submission("a"))
	if err == nil || other.calls.Load() != 0 {
		t.Errorf("err = %v, calls at the other server = %d: the token would have gone there", err, other.calls.Load())
	}
}
