package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/session"
)

// ErrReplaced is returned by Worker.Run when another worker registered under the same
// name: each needs one of its own.
var ErrReplaced = session.ErrReplaced

// WorkerOptions say what a worker is. Zero values stand for the defaults named.
type WorkerOptions struct {
	// Name is the node's id: 1 to 63 letters, digits, '.', '_' or '-'. The host's name
	// and a random end, so that several on one machine do not replace each other.
	Name string
	// Concurrency is how many functions run at once, 1 to 10,000; the number of cores.
	Concurrency int
	// Capacity is what its tasks may reserve together; all cores. Memory is given by
	// whoever has tasks that reserve some.
	Capacity *v1.Resources
	// GPUDevices are the devices of Capacity.Gpus. A handler finds those that it holds
	// in its attempt's task.
	GPUDevices []*v1.GpuDevice
	// Labels are at most 32 pairs: keys 1 to 63 bytes, values at most 256.
	Labels map[string]string
	// Spec, if set, changes anything else that the node says of itself: provider,
	// region, price.
	Spec func(*v1.NodeSpec)
	// StopGrace is how long a handler has to return after its task was cancelled or its
	// time was over; 10 s.
	StopGrace time.Duration
	// ShutdownGrace is the same for all of them when Run's context ends; 5 s.
	ShutdownGrace time.Duration
	// Version is that of the program, for people who look at the nodes.
	Version string
	// Logger receives what happens, and what handlers log by Logger; slog.Default.
	Logger *slog.Logger
}

// Limits of the contract and defaults.
const (
	maxConcurrency       = 10_000
	defaultStopGrace     = 10 * time.Second
	defaultShutdownGrace = 5 * time.Second
)

// notInName is what a host's name may hold and a node's may not.
var notInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// Handler is a function of a worker in the form that Middleware sees.
type Handler func(ctx context.Context, attempt *Attempt) (result []byte, err error)

// Middleware is put around every handler: for metrics, for set-up, for errors.
type Middleware func(next Handler) Handler

// Worker runs functions as tasks. Register functions, then call Run once.
type Worker struct {
	client     *Client
	opts       WorkerOptions
	handlers   map[string]Handler
	middleware []Middleware
	ready      chan struct{}
	executions executions
	base       context.Context //nolint:containedctx // Run's, for its values
	began      sync.Once
}

// NewWorker makes a worker. Nothing is checked or called before Run.
func NewWorker(c *Client, opts WorkerOptions) *Worker {
	return &Worker{client: c, opts: opts.withDefaults(), handlers: map[string]Handler{}, ready: make(chan struct{})}
}

func (o WorkerOptions) withDefaults() WorkerOptions {
	if o.Name == "" {
		host, _ := os.Hostname() // without one the name is random all the same
		host = strings.Trim(notInName.ReplaceAllString(host, "-"), "._-")
		o.Name = strings.TrimLeft(host[:min(len(host), 40)]+"-"+strings.ToLower(rand.Text()[:8]), "-")
	}
	if o.Concurrency == 0 {
		o.Concurrency = runtime.GOMAXPROCS(0)
	}
	if o.Capacity == nil {
		o.Capacity = &v1.Resources{CpuMillis: int64(runtime.GOMAXPROCS(0)) * 1000, Gpus: int32(len(o.GPUDevices))} //nolint:gosec // the contract's limit is lower
	}
	if o.StopGrace == 0 {
		o.StopGrace = defaultStopGrace
	}
	if o.ShutdownGrace == 0 {
		o.ShutdownGrace = defaultShutdownGrace
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// Register makes a function known under a name: 1 to 128 letters, digits, '.', '_',
// '-', '/' or ':'. It panics if the name is taken, as it would in any run.
//
// Arguments and results travel as Submit says. ctx ends when the task was cancelled,
// its time is over, the worker stops or its lease could not be renewed: then the
// function must return. It has the values of Run's context. It runs at least once, so it must bear to be run again. A panic is
// reported as a failure with its stack.
func Register[Args, Result any](w *Worker, name string, f func(ctx context.Context, args Args) (Result, error)) {
	w.Handle(name, func(ctx context.Context, at *Attempt) ([]byte, error) {
		var args Args
		if err := decode(at.Task.GetFunction().GetPayload(), &args); err != nil {
			return nil, Permanent(fmt.Errorf("the argument is no %T: %w", args, err))
		}
		result, err := f(ctx, args)
		if err != nil {
			return nil, err
		}
		b, err := encode(result)
		if err != nil {
			return nil, Permanent(fmt.Errorf("encode the result: %w", err))
		}
		return b, nil
	})
}

// Handle is Register for bytes.
func (w *Worker) Handle(name string, h Handler) {
	if _, taken := w.handlers[name]; taken {
		panic("client: function " + name + " is registered twice")
	}
	w.handlers[name] = h
}

// Use puts middleware around every handler; the first is the outermost.
func (w *Worker) Use(m ...Middleware) { w.middleware = append(w.middleware, m...) }

// Name is the node's id.
func (w *Worker) Name() string { return w.opts.Name }

// Ready is closed once the worker is registered.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// Run registers the worker and runs tasks until ctx ends. Then it takes no more, lets
// those that run return within ShutdownGrace, hands back what did not, and returns nil. It
// returns ErrReplaced if another worker took its name, and other errors when it cannot
// begin.
func (w *Worker) Run(ctx context.Context) error {
	again := true
	w.began.Do(func() { again = false })
	if again {
		return errors.New("a worker runs once: make a new one")
	}
	if err := w.check(); err != nil {
		return err
	}
	w.base = context.WithoutCancel(ctx)
	watching, stop := context.WithCancel(w.base)
	defer stop()
	go w.executions.watch(watching)
	return session.Run(ctx, session.Config{
		ControlPlane: w.client, Name: w.opts.Name, Spec: w.spec(), Run: w.run,
		StopGrace: w.opts.StopGrace, ShutdownGrace: w.opts.ShutdownGrace, Logger: w.opts.Logger,
	}, func() { close(w.ready) })
}

// check reports every mistake at once.
func (w *Worker) check() error {
	var all []error
	if !session.Name.MatchString(w.opts.Name) {
		all = append(all, fmt.Errorf("name %q: give 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit", w.opts.Name))
	}
	if w.opts.Concurrency < 1 || w.opts.Concurrency > maxConcurrency {
		all = append(all, fmt.Errorf("concurrency %d: give 1 to %d", w.opts.Concurrency, maxConcurrency))
	}
	if len(w.handlers) == 0 {
		all = append(all, errors.New("no function is registered: call Register first"))
	}
	if w.opts.StopGrace < 0 || w.opts.ShutdownGrace < 0 {
		all = append(all, errors.New("a grace period is negative: give 0 or more"))
	}
	return errors.Join(all...)
}

func (w *Worker) spec() *v1.NodeSpec {
	spec := &v1.NodeSpec{
		Slots: int32(w.opts.Concurrency), Capacity: w.opts.Capacity, GpuDevices: w.opts.GPUDevices, //nolint:gosec // checked
		Labels: w.opts.Labels, Version: session.CutString(w.opts.Version, 63),
	}
	for name := range w.handlers {
		spec.Functions = append(spec.Functions, name)
	}
	slices.Sort(spec.Functions)
	if w.opts.Spec != nil {
		w.opts.Spec(spec)
	}
	return spec
}
