// Package clienttest runs a control plane inside a test: a whole member, with its engine,
// scheduler and API on a port of loopback, gone when the test ends.
package clienttest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/client"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/db/raftdb"
	"github.com/raft-control-plane/control-plane/scheduler"
	"github.com/raft-control-plane/control-plane/service"
)

// electionTimeout is short because there is nobody to wait for.
const electionTimeout = 20 * time.Millisecond

// ControlPlane is a cluster of one member.
type ControlPlane struct {
	// URL is where it listens.
	URL string
	// Client calls it.
	Client *client.Client

	stop func() error
}

// Option changes how a control plane runs.
type Option func(*options)

type options struct {
	scheduler scheduler.Options
	logger    *slog.Logger
}

// WithLease shortens the lease of nodes, 15 s otherwise, for tests of lost workers.
func WithLease(d time.Duration) Option {
	return func(o *options) { o.scheduler.Lease = d }
}

// WithRetryWait shortens the wait before a failed task's next attempt, 1 s otherwise.
func WithRetryWait(d time.Duration) Option {
	return func(o *options) { o.scheduler.RetryBase = d }
}

// WithLogger receives what the member logs, which is nothing otherwise.
func WithLogger(log *slog.Logger) Option {
	return func(o *options) { o.logger = log }
}

// New starts a control plane that takes calls, and closes it when the test ends.
func New(t testing.TB, opts ...Option) *ControlPlane {
	t.Helper()
	p, err := Start(t.Context(), opts...)
	if err != nil {
		t.Fatalf("start a control plane: %v", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close the control plane: %v", err)
		}
	})
	return p
}

// Start is New for programs that are no tests: Close it.
func Start(ctx context.Context, opts ...Option) (*ControlPlane, error) {
	o := options{logger: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&o)
	}
	dir, err := os.MkdirTemp("", "control-plane-")
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, dir, o)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, nil
}

func start(ctx context.Context, dir string, o options) (*ControlPlane, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	engine, err := raftdb.Open(raftdb.Config{
		Dir: dir, Name: "test", Advertise: ln.Addr().String(), Version: "test", Logger: o.logger,
		Timing: raftdb.Timing{Heartbeat: electionTimeout},
	})
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	m := &member{dir: dir, engine: engine, tasks: db.NewTaskManifest(engine)}
	m.tasks.SetLogger(o.logger)
	handler, err := service.New(service.Config{
		Tasks: m.tasks, Scheduler: scheduler.NewWithOptions(m.tasks, o.logger, o.scheduler), Admin: engine, Raft: engine.Handler(),
		Loopback: true, Version: "test", Logger: o.logger,
	})
	if err != nil {
		return nil, errors.Join(err, ln.Close(), engine.Close())
	}
	m.run(func(ctx context.Context) error { return service.Serve(ctx, ln, handler, nil, o.logger) })
	url := "http://" + ln.Addr().String()
	c, err := client.New([]string{url})
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	p := &ControlPlane{URL: url, Client: c, stop: m.close}
	if err := m.tasks.AwaitWritable(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for it to take writes: %w", err), p.Close())
	}
	return p, nil
}

// Close stops the control plane and removes its state.
func (p *ControlPlane) Close() error {
	p.Client.Close()
	return p.stop()
}

// member is what runs behind a ControlPlane.
type member struct {
	dir         string
	engine      *raftdb.Engine
	tasks       *db.TaskManifest
	stopServing context.CancelFunc
	stopRunning context.CancelFunc
	served, ran chan error
}

func (m *member) run(serve func(context.Context) error) {
	var serving, running context.Context
	serving, m.stopServing = context.WithCancel(context.Background())
	running, m.stopRunning = context.WithCancel(context.Background())
	m.served, m.ran = make(chan error, 1), make(chan error, 1)
	go func() { m.ran <- m.tasks.Run(running) }()
	go func() { m.served <- serve(serving) }()
}

// close ends the server before what its calls need.
func (m *member) close() error {
	m.stopServing()
	err := <-m.served
	m.stopRunning()
	return errors.Join(err, <-m.ran, m.engine.Close(), os.RemoveAll(m.dir))
}
