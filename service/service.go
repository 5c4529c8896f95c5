// Package service is the face of a member: the handlers of the RPC services
// and the HTTP server that carries them, with health, metrics and the traffic
// between members, on one port.
//
// A handler turns a message into nouns (convert_*.go), asks the manifest or the
// scheduler, and turns the answer back. Any member takes any call: what only the
// leader can do is forwarded to it (forward.go). Errors are translated in one
// place (error.go).
package service

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/validate"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
	"github.com/raft-control-plane/control-plane/internal/tasklog"
	"github.com/raft-control-plane/control-plane/internal/tracing"
)

// Limits of every call.
const (
	// maxMessageBytes bounds a request, and what a handler puts into a response.
	maxMessageBytes = 4 << 20
	// maxSendBytes bounds a response as it is written: JSON takes more room than
	// what maxMessageBytes is measured in.
	maxSendBytes = 4 * maxMessageBytes
	// minCompressBytes is the size from which a response is worth compressing.
	minCompressBytes = 1024
	// defaultWait is how long a call without a deadline waits for a leader.
	defaultWait = 5 * time.Second
)

// Scheduler is the part of the leader that nodes talk to. Its methods fail with
// CodeUnavailable on a member that does not lead.
type Scheduler interface {
	Heartbeat(ctx context.Context, hb controlplane.Heartbeat) (controlplane.Work, error)
	Poll(ctx context.Context, req controlplane.Poll) (controlplane.Work, error)
	Report(ctx context.Context, nodeID, session string, results []controlplane.Result) ([]controlplane.ReportOutcome, error)
	ReportAndPoll(ctx context.Context, req controlplane.Poll, results []controlplane.Result) ([]controlplane.ReportOutcome, controlplane.Work, error)
	Cordon(ctx context.Context, nodeID string) error
	Uncordon(ctx context.Context, nodeID string) error
	Drain(ctx context.Context, nodeID string, deadline *time.Duration) error
	Remove(ctx context.Context, nodeID string) error
	Explain(ctx context.Context, taskID string) (*controlplane.Explanation, error)
	CheckHeld(nodeID, session string, attempts []controlplane.Attempt) ([]error, error)
	IsHeld(a controlplane.Attempt) bool
}

// Config is what the handlers stand on.
type Config struct {
	Tasks     *db.TaskManifest
	Scheduler Scheduler
	Admin     Admin
	// Raft takes the traffic of other members at /raft and /raft/. It authenticates
	// by itself.
	Raft http.Handler
	// Ready says why this member should not be sent calls; nil if it should.
	Ready func(ctx context.Context) error
	// Token is the shared secret that every call must bear; none if empty.
	Token string
	// Loopback is set when the listener is reached from this machine only. Without a
	// Token the Host header must then name this machine too.
	Loopback bool
	// CORSOrigins are the origins of web pages that may call, such as
	// "https://console.example.com"; "*" for all.
	CORSOrigins []string
	// PeerTLS is used to forward calls to other members; plaintext if nil.
	PeerTLS *tls.Config
	// Version of the binary.
	Version string
	Logger  *slog.Logger
	// Metrics is served at /metrics; a registry of its own if nil.
	Metrics *prometheus.Registry
	// Tracing makes a span of each call that is answered or forwarded, but for those of
	// tracing.Interceptor that go on all the time; none if nil.
	Tracing trace.TracerProvider
	// Mount adds the handlers of other services, which are served as the contract's
	// are: behind the same layers, and with these options. None if nil.
	Mount func(mux *http.ServeMux, opts ...connect.HandlerOption)
}

// server implements the handlers of all services.
type server struct {
	Config
	engine  db.Engine
	log     *slog.Logger
	metrics *metrics
	peers   *peers
	health  *health
	tokens  pageTokens
	errors  *connect.ErrorWriter
	traced  []connect.Interceptor // none, or the one that makes spans
	// logs are those of running attempts, while this member leads; logGeneration names
	// this memory of them.
	logs          *tasklog.Store
	logGeneration string

	started time.Time
	// schema is set once this member's state has its tables.
	schema     atomic.Bool
	watchTimes watchTimes
	// bodyTimeout is how long the body of a request may take to come.
	bodyTimeout time.Duration
	arriving    arriving
}

// New returns the handler of everything that a member serves.
func New(cfg Config) (http.Handler, error) {
	s, err := newServer(cfg)
	if err != nil {
		return nil, err
	}
	return s.handler(), nil
}

func newServer(cfg Config) (*server, error) {
	if cfg.Tasks == nil || cfg.Scheduler == nil || cfg.Admin == nil || cfg.Raft == nil {
		return nil, errors.New("service: Tasks, Scheduler, Admin and Raft must be set")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &server{Config: cfg, engine: cfg.Tasks.Engine(), log: cfg.Logger, watchTimes: defaultWatchTimes, bodyTimeout: bodyTimeout, started: time.Now()}
	if cfg.Ready == nil {
		s.Ready = cfg.Tasks.CaughtUp
	}
	var err error
	if s.metrics, err = newMetrics(cfg.Metrics, s.engine); err != nil {
		return nil, err
	}
	if cfg.Tracing != nil {
		i, err := tracing.Interceptor(cfg.Tracing)
		if err != nil {
			return nil, err
		}
		s.traced = []connect.Interceptor{i}
	}
	s.peers = newPeers(cfg.Token, cfg.PeerTLS, s.traced...)
	s.health = newHealth(s.Ready)
	s.tokens = newPageTokens(cfg.Token)
	s.errors = connect.NewErrorWriter()
	s.logs, s.logGeneration = tasklog.NewStore(tasklog.StoreBytes), rand.Text()
	return s, nil
}

// handler mounts everything. The order of the layers matters: the host check
// comes first, a preflight has no token, and nothing wraps the ResponseWriter,
// which the Raft handler takes over.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	s.mountServices(mux)
	s.mountRqlite(mux)
	mux.Handle("/raft", s.Raft)
	mux.Handle("/raft/", s.Raft)
	mux.HandleFunc("/livez", s.health.live)
	mux.HandleFunc("/readyz", s.health.ready)
	mux.Handle("/metrics", s.metrics.handler())
	mux.HandleFunc("/", s.root)
	mux.Handle(batchPath, s.batch(s.withWriter(mux)))
	return s.notePanics(s.checkHost(s.withCORS(s.authenticate(s.withWriter(s.withRqliteVersion(mux))))))
}

func (s *server) mountServices(mux *http.ServeMux) {
	opts := []connect.HandlerOption{
		connect.WithReadMaxBytes(maxMessageBytes),
		connect.WithSendMaxBytes(maxSendBytes),
		connect.WithCompressMinBytes(minCompressBytes),
		connect.WithCodec(strictJSON{name: "json"}),
		connect.WithCodec(strictJSON{name: "json; charset=utf-8"}),
		connect.WithCodec(plainProto{}),
		connect.WithCompression("gzip", newBoundedGzip, newGzip),
		connect.WithInterceptors(append(s.traced, edge{s}, faults{})...),
		connect.WithRecover(s.recovered),
		connect.WithInterceptors(validate.NewInterceptor(validate.WithValidator(quickValidator{}), validate.WithoutErrorDetails())),
	}
	handle := s.handleMethods(mux)
	handle(controlplanev1connect.NewTaskServiceHandler(s, opts...))
	handle(controlplanev1connect.NewNodeServiceHandler(s, opts...))
	handle(controlplanev1connect.NewQueueServiceHandler(s, opts...))
	handle(controlplanev1connect.NewEventServiceHandler(s, opts...))
	handle(controlplanev1connect.NewClusterServiceHandler(s, opts...))
	handle(controlplanev1connect.NewQueryServiceHandler(s, opts...))
	handle(controlplanev1connect.NewLogServiceHandler(s, opts...))
	mux.Handle(grpchealth.NewHandler(s.health))
	reflector := grpcreflect.NewStaticReflector(append(services(), grpchealth.HealthV1ServiceName)...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	if s.Mount != nil {
		s.Mount(mux, opts...)
	}
}

// handleMethods gives each method of a service a path of its own, so that a method
// that is not there comes to root, which answers in the caller's protocol.
func (s *server) handleMethods(mux *http.ServeMux) func(path string, h http.Handler) {
	return func(path string, h http.Handler) {
		name := protoreflect.FullName(strings.Trim(path, "/"))
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			panic(err) // the stubs register what they are made of
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			m := methods.Get(i)
			mux.Handle(path+string(m.Name()), s.plainHTTP(m, h))
		}
	}
}

// services are the full names of the services of the contract.
func services() []string {
	return []string{
		controlplanev1connect.TaskServiceName,
		controlplanev1connect.NodeServiceName,
		controlplanev1connect.QueueServiceName,
		controlplanev1connect.EventServiceName,
		controlplanev1connect.ClusterServiceName,
		controlplanev1connect.QueryServiceName,
		controlplanev1connect.LogServiceName,
	}
}
