// Package client calls the control plane from Go.
//
// A Client knows one or more members and keeps to the one that works: when a
// member cannot be reached, or has no leader to ask, the call goes on with the
// next, and between rounds over all of them it waits, longer each time and by a
// random share less, until the deadline of its context. A call without a
// deadline gets one of 30 s (polls: their wait on top); WatchTasks, WatchEvents,
// TailLog and Wait have none.
//
// Only what is safe is tried again. Reads are, and so are SubmitTask and
// SubmitTasks (a task that has neither an id nor a request_id is given an id
// here), CancelTask, Heartbeat and reports, which the state takes once
// however often they come. A call that hands out tasks (PollTask, and
// ReportTaskResults with max_tasks) is tried again only if the control plane
// certainly did not process it; otherwise the error is returned, and the next
// poll must set held_complete so that tasks whose answer was lost are handed out
// again.
//
// SubmitTask and GetTask by many callers at the same time go to the control plane together,
// in SubmitTasks and GetTasks, which costs a fraction of a call each. Nobody waits for that: the first
// goes at once, and who comes while it is under way goes in the next.
//
// Submit and Worker are for functions: Submit stores a call of one by its name, and a
// Worker, anywhere, runs those that are registered with it. The package clienttest runs a
// control plane within a test. How a module of your own uses all that, with a whole worker
// and what submits to it, is in docs/go.md: it needs two replacements in its go.mod.
//
// A *connect.Error is in the chain of every error that a call returns.
package client

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
	"github.com/raft-control-plane/control-plane/internal/gather"
	"github.com/raft-control-plane/control-plane/internal/protocodec"
)

const (
	defaultCallTimeout = 30 * time.Second
	// responseMaxBytes bounds what a server can make this process hold.
	responseMaxBytes = 64 << 20
)

// Client calls the members of one control plane. It is safe for use by several
// goroutines at once.
type Client struct {
	servers []*server
	// current is the index of the server that worked last.
	current   atomic.Int64
	gathering *gather.Queue[*submitting]
	gettings  *gettings
	options   options
	transport *transport
}

// server is one member with its stubs.
type server struct {
	url     string
	tasks   controlplanev1connect.TaskServiceClient
	nodes   controlplanev1connect.NodeServiceClient
	queues  controlplanev1connect.QueueServiceClient
	events  controlplanev1connect.EventServiceClient
	cluster controlplanev1connect.ClusterServiceClient
	query   controlplanev1connect.QueryServiceClient
	logs    controlplanev1connect.LogServiceClient
	// lackedGetTasks is when it was last seen to be of a release without GetTasks.
	lackedGetTasks moment
}

// New makes a client of the members at these URLs, such as
// "http://127.0.0.1:8080". One without a scheme ("host:port") is taken for
// http, or for https if WithTLS is among the options. No connection is made
// before the first call.
func New(servers []string, opts ...Option) (*Client, error) {
	o := options{callTimeout: defaultCallTimeout, logger: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&o)
	}
	urls, err := serverURLs(servers, o.tls != nil)
	if err = errors.Join(err, checkToken(o.token), o.trace()); err != nil {
		return nil, err
	}
	return newClient(urls, o), nil
}

func newClient(urls []string, o options) *Client {
	httpClient, transport := newHTTPClient(o.tls, o.token)
	c := &Client{options: o, transport: transport}
	c.gathering, c.gettings = c.newGathering(), c.newGettings()
	for _, u := range urls {
		opts := append(o.compression(u),
			connect.WithCodec(protocodec.Codec{}),
			connect.WithReadMaxBytes(responseMaxBytes),
			connect.WithInterceptors(o.interceptors...))
		c.servers = append(c.servers, &server{
			url:     u,
			tasks:   controlplanev1connect.NewTaskServiceClient(httpClient, u, opts...),
			nodes:   controlplanev1connect.NewNodeServiceClient(httpClient, u, opts...),
			queues:  controlplanev1connect.NewQueueServiceClient(httpClient, u, opts...),
			events:  controlplanev1connect.NewEventServiceClient(httpClient, u, opts...),
			cluster: controlplanev1connect.NewClusterServiceClient(httpClient, u, opts...),
			query:   controlplanev1connect.NewQueryServiceClient(httpClient, u, opts...),
			logs:    controlplanev1connect.NewLogServiceClient(httpClient, u, opts...),
		})
	}
	return c
}

// Servers returns the URLs that the client calls.
func (c *Client) Servers() []string {
	urls := make([]string, len(c.servers))
	for i, s := range c.servers {
		urls[i] = s.url
	}
	return urls
}

// Close closes the connections that no call is using.
func (c *Client) Close() { c.transport.closeIdle() }

// pick returns the server to try now and its index.
func (c *Client) pick() (int64, *server) {
	i := c.current.Load()
	return i, c.servers[i]
}

// skip goes on to the server after i, unless another call has done so already.
func (c *Client) skip(i int64) {
	c.current.CompareAndSwap(i, (i+1)%int64(len(c.servers)))
}

// UnreachableError is returned when no server gave any answer. The error of the
// last attempt is in its chain.
type UnreachableError struct {
	Servers []string
	Err     error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no answer from %s: %v", strings.Join(e.Servers, ", "), e.Err)
}

// Unwrap returns the error of the last attempt.
func (e *UnreachableError) Unwrap() error { return e.Err }
