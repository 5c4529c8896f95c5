package service

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
	"github.com/raft-control-plane/control-plane/internal/burst"
	"github.com/raft-control-plane/control-plane/internal/gather"
	"github.com/raft-control-plane/control-plane/internal/protocodec"
)

// Health checks of the kept connections: a leader that is gone without a word is
// found out by the sum of the two.
const (
	peerPingAfter   = 2 * time.Second
	peerPingTimeout = 3 * time.Second
	peerDialTimeout = 2 * time.Second
)

// peer is another member as a server of calls.
type peer struct {
	tasks   controlplanev1connect.TaskServiceClient
	nodes   controlplanev1connect.NodeServiceClient
	cluster controlplanev1connect.ClusterServiceClient
	queues  controlplanev1connect.QueueServiceClient
	logs    controlplanev1connect.LogServiceClient
}

// peers keeps a client for each member that was called. There are few.
type peers struct {
	http   *http.Client
	scheme string
	opts   []connect.ClientOption

	mu  sync.Mutex
	all map[string]*peer
}

func newPeers(token string, conf *tls.Config, traced ...connect.Interceptor) *peers {
	p := &peers{scheme: "http", all: map[string]*peer{}}
	protocols := new(http.Protocols)
	if conf == nil {
		protocols.SetUnencryptedHTTP2(true)
	} else {
		p.scheme = "https"
		protocols.SetHTTP2(true)
	}
	dialer := &net.Dialer{Timeout: peerDialTimeout}
	transport := func() http.RoundTripper {
		return &http.Transport{
			Protocols:       protocols,
			TLSClientConfig: conf.Clone(),
			HTTP2:           &http.HTTP2Config{SendPingTimeout: peerPingAfter, PingTimeout: peerPingTimeout},
			IdleConnTimeout: 5 * time.Minute,
			// Members are near each other and CPU is dear.
			DisableCompression: true,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, address)
				if err != nil {
					return nil, &dialError{err}
				}
				return burst.New(conn), nil
			},
		}
	}
	p.http = &http.Client{Transport: &gatherer{all: map[string]*gather.Queue[*gatheredCall]{}, next: newLanes(transport)}}
	p.opts = []connect.ClientOption{
		connect.WithCodec(protocodec.Codec{}),
		connect.WithInterceptors(append(traced, hop{token: token})...),
		connect.WithAcceptCompression("gzip", nil, nil),
		connect.WithReadMaxBytes(maxSendBytes),
	}
	return p
}

func (p *peers) get(address string) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.all[address]
	if c == nil {
		url := p.scheme + "://" + address
		c = &peer{
			tasks:   controlplanev1connect.NewTaskServiceClient(p.http, url, p.opts...),
			nodes:   controlplanev1connect.NewNodeServiceClient(p.http, url, p.opts...),
			cluster: controlplanev1connect.NewClusterServiceClient(p.http, url, p.opts...),
			queues:  controlplanev1connect.NewQueueServiceClient(p.http, url, p.opts...),
			logs:    controlplanev1connect.NewLogServiceClient(p.http, url, p.opts...),
		}
		p.all[address] = c
	}
	return c
}

// dialError is a failure before anything was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return "dial: " + e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// hop is the interceptor that marks what a member forwards and gives it the shared
// token.
type hop struct{ token string }

// WrapUnary implements connect.Interceptor.
func (h hop) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set(hopHeader, "1")
		if h.token != "" {
			req.Header().Set("Authorization", "Bearer "+h.token)
		}
		return next(ctx, req)
	}
}

// WrapStreamingClient implements connect.Interceptor; no stream is forwarded.
func (h hop) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (h hop) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
