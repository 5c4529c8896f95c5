package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/raft-control-plane/control-plane/internal/burst"
)

// Limits of the server.
const (
	maxConnections    = 32768 // each worker has two
	minConnections    = 64
	maxHeaderBytes    = 64 << 10
	maxStreamsPerConn = 16384 // gRPC clients that wait for many things do so over one connection
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	bodyTimeout       = 30 * time.Second // for the request of a call, at most 4 MiB
	drainTimeout      = 6 * time.Second
)

// Serve serves HTTP/1.1 and HTTP/2, the latter over TLS or in plaintext by prior
// knowledge, until ctx ends. Then it stops accepting, tells watches and polls to
// end, lets what else is in flight finish for up to 6 s, and returns nil.
// Connections that a handler has taken over are that handler's to close.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, conf *tls.Config, log *slog.Logger) error {
	limit := unix.Rlimit{}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	return serveLimited(ctx, ln, newHTTPServer(ctx, h, conf, log), connectionLimit(limit.Cur), log)
}

// connectionLimit is how many connections are accepted at once by a process that may have so
// many files open: a quarter is left to the database, the log and calls to other members.
func connectionLimit(files uint64) int {
	return int(min(max(files/4*3, minConnections), maxConnections)) //nolint:gosec // it is small
}

// serveLimited is Serve for a server that is made, and for so many connections at
// once: more wait to be accepted.
func serveLimited(ctx context.Context, ln net.Listener, srv *http.Server, connections int, log *slog.Logger) error {
	ln = burst.Listener{Listener: netutil.LimitListener(ln, connections), Plain: srv.TLSConfig == nil}
	ended := make(chan error, 1)
	go func() {
		if srv.TLSConfig != nil {
			ended <- srv.ServeTLS(ln, "", "")
		} else {
			ended <- srv.Serve(ln)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		log.Warn("some calls did not end in time and are cut off", "limit", drainTimeout, "error", err)
		err = srv.Close()
		if err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

func newHTTPServer(ctx context.Context, h http.Handler, conf *tls.Config, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	base := context.WithValue(context.WithoutCancel(ctx), closingKey{}, ctx)
	return &http.Server{
		Handler:           h,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreamsPerConn, SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		TLSConfig:         conf,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
}

// closingKey is where a request's context holds the one that ends when the server
// begins to stop. Requests themselves go on.
type closingKey struct{}

func isClosing(ctx context.Context) bool {
	c, ok := ctx.Value(closingKey{}).(context.Context)
	return ok && c.Err() != nil
}

// untilClosing returns a context that also ends when the server begins to stop:
// for calls that only wait.
func untilClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	c, ok := ctx.Value(closingKey{}).(context.Context)
	if !ok {
		return context.WithCancel(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c, cancel)
	return ctx, func() { stop(); cancel() }
}

// root gives the dashboard to browsers, says what this is to others, and answers what
// no path is made for.
func (s *server) root(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		w.Header().Add("Vary", "Accept")
	}
	if isPage(r) {
		page(w, r)
		return
	}
	if r.URL.Path != "/" {
		s.refuseUnread(notFound{w}, r, connect.CodeUnimplemented, "there is nothing at "+quoted(r.URL.Path)+": GET / lists what there is")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, rootText, s.Version, methodList(), r.Host)
}

// notFound answers an unknown path with 404, as HTTP and Connect's protocol have it,
// where the error's code alone would make it 501.
type notFound struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w notFound) WriteHeader(status int) {
	if status == http.StatusNotImplemented {
		status = http.StatusNotFound
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the server's own writer.
func (w notFound) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// methodList says which methods there are, of the contract itself, a service a line.
var methodList = sync.OnceValue(func() string {
	var list strings.Builder
	for _, name := range services() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			panic(err) // the stubs register what they are made of
		}
		fmt.Fprintf(&list, "  %-33s", "/"+name+"/")
		methods := d.(protoreflect.ServiceDescriptor).Methods() //nolint:forcetypeassert // by the name of a service
		for i := range methods.Len() {
			list.WriteString(" " + string(methods.Get(i).Name()))
		}
		list.WriteString("\n")
	}
	return list.String()
})

const rootText = `raft-node %s: a control plane for ML work.

Calls, by gRPC, gRPC-Web, and Connect in Protobuf or JSON:
%s
For example:
  curl -H 'content-type: application/json' -d '{}' %s/controlplane.v1.ClusterService/GetCluster

For clients of rqlite, to read in SQL: /db/query, /db/request, /status, /nodes, /leader

In a browser this is the dashboard. Also: gRPC reflection and health, /livez, /readyz, /metrics, and /raft between members.
`
