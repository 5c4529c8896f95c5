package service

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/raft-control-plane/control-plane/internal/gather"
)

// Calls that a member forwards while another is under way go to the leader together, in
// one request: HTTP costs both sides more than what a short write does. The body of the request holds the calls one after the other in the form
// of HTTP/1.1, and so does the answer the responses, each as soon as it is there, with the
// number of its call: see batch.go.

const (
	batchPath = "/forward"
	// callHeader numbers the responses in an answer: that of the call, from 0.
	callHeader = "Control-Plane-Call"

	maxBatchCalls = 256
	maxBatchBytes = 8 << 20
	// gatherPatience is how long a request may take before those behind it go by
	// themselves: its leader may be gone.
	gatherPatience = 250 * time.Millisecond
)

// gathered are the methods whose calls go together: short writes, which many make at a
// time. What waits for work goes by itself.
var gathered = []string{
	"/controlplane.v1.TaskService/SubmitTask",
	"/controlplane.v1.TaskService/CancelTask",
	"/controlplane.v1.NodeService/Heartbeat",
	"/controlplane.v1.NodeService/ReportTaskResult",
}

// gatheredCall is a call under way.
type gatheredCall struct {
	req  *http.Request
	body []byte
	done chan struct{}
	res  *http.Response
	err  error
}

// gatherer is a transport that has a queue for each member.
type gatherer struct {
	next http.RoundTripper

	mu  sync.Mutex
	all map[string]*gather.Queue[*gatheredCall]
}

// RoundTrip implements http.RoundTripper.
func (g *gatherer) RoundTrip(req *http.Request) (*http.Response, error) {
	if !slices.Contains(gathered, req.URL.Path) {
		return g.next.RoundTrip(req)
	}
	c := &gatheredCall{req: req, done: make(chan struct{})}
	if req.Body != nil {
		var err error
		c.body, err = io.ReadAll(req.Body)
		if err = errors.Join(err, req.Body.Close()); err != nil {
			return nil, err
		}
	}
	ctx := req.Context()
	if !g.queue(req.URL.Host).Do(ctx, c, c.done, func() { c.res, c.err = g.next.RoundTrip(c.again()) }) { //nolint:bodyclose // whoever gets it closes it
		return nil, ctx.Err()
	}
	return c.res, c.err
}

func (g *gatherer) queue(host string) *gather.Queue[*gatheredCall] {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.all[host]
	if q == nil {
		q = &gather.Queue[*gatheredCall]{
			Patience: gatherPatience, MaxItems: maxBatchCalls, MaxBytes: maxBatchBytes,
			Size: func(c *gatheredCall) int { return len(c.body) + 512 },
			Send: g.sendTogether,
		}
		g.all[host] = q
	}
	return q
}

// again is the call's request, whose body has been read.
func (c *gatheredCall) again() *http.Request {
	req := c.req.Clone(c.req.Context())
	req.ContentLength = int64(len(c.body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.body)), nil }
	req.Body, _ = req.GetBody()
	return req
}

func (g *gatherer) sendTogether(batch []*gatheredCall) {
	if len(batch) == 1 {
		batch[0].answer(g.next.RoundTrip(batch[0].again())) //nolint:bodyclose // whoever gets it closes it
		return
	}
	var callers []context.Context
	for _, c := range batch {
		callers = append(callers, c.req.Context())
	}
	ctx, cancel := gather.Latest(callers, 0)
	defer cancel()
	res, err := g.request(ctx, batch)
	switch {
	case err != nil:
		for _, c := range batch {
			c.answer(nil, err)
		}
	case res.StatusCode != http.StatusOK: // the member is of a release that does not know this, or refuses all that comes from here
		_ = res.Body.Close()
		for _, c := range batch {
			go func() { c.answer(g.next.RoundTrip(c.again())) }() //nolint:bodyclose // whoever gets it closes it
		}
	default:
		readResponses(batch, res.Body)
	}
}

// request sends a batch.
func (g *gatherer) request(ctx context.Context, batch []*gatheredCall) (*http.Response, error) {
	var body bytes.Buffer
	for _, c := range batch {
		if err := c.again().Write(&body); err != nil {
			return nil, err
		}
	}
	first := batch[0].req
	url := *first.URL
	url.Path = batchPath
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url.String(), &body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	for _, h := range []string{hopHeader, "Authorization"} {
		if v := first.Header.Get(h); v != "" {
			req.Header.Set(h, v)
		}
	}
	return g.next.RoundTrip(req)
}

// readResponses hands each response to its call. Those that do not come get an error by
// which their outcome is unknown.
func readResponses(batch []*gatheredCall, answer io.ReadCloser) {
	defer answer.Close()
	left := slices.Clone(batch)
	r := bufio.NewReader(answer)
	var err error
	for range batch {
		var res *http.Response
		var i int
		if res, i, err = readResponse(r, len(batch)); err != nil { //nolint:bodyclose // it is in memory
			break
		}
		if left[i] != nil {
			left[i].answer(res, nil)
			left[i] = nil
		}
	}
	for _, c := range left {
		if c != nil {
			c.answer(nil, fmt.Errorf("the leader's answer ended early: %w", errors.Join(err, io.ErrUnexpectedEOF)))
		}
	}
}

func readResponse(r *bufio.Reader, n int) (*http.Response, int, error) {
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, 0, err
	}
	body, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, 0, err
	}
	i, err := strconv.Atoi(res.Header.Get(callHeader))
	if err != nil || i < 0 || i >= n {
		return nil, 0, fmt.Errorf("a response is for call %q of %d", strings.ToValidUTF8(res.Header.Get(callHeader), "?"), n)
	}
	res.Header.Del(callHeader)
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, i, nil
}

func (c *gatheredCall) answer(res *http.Response, err error) {
	c.res, c.err = res, err
	close(c.done)
}
