package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/db/raftdb"
	"github.com/raft-control-plane/control-plane/internal/collector"
	"github.com/raft-control-plane/control-plane/scheduler"
	"github.com/raft-control-plane/control-plane/service"
)

// closeTimeout bounds what comes after the server has drained (up to 6 s), so that
// a member ends within 8 s. What is not closed by then needs no closing: the log
// is on disk.
const closeTimeout = 1500 * time.Millisecond

const serveLong = `Runs a member of the control plane: one port for gRPC, gRPC-Web, Connect and JSON,
for health and metrics, and for the traffic between members.

A fresh data directory with neither --join nor --bootstrap-expect is a cluster of
one. Three members form a cluster when each is started with --bootstrap-expect 3
and the addresses of all three in --join. --join alone joins a running cluster.
Both are ignored once the data directory holds state.`

func newServeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a member of the control plane",
		Long:  serveLong,
		Example: `  raft-node serve
  raft-node serve --name a --listen 10.0.0.1:8080 --token-file token --bootstrap-expect 3 --join 10.0.0.1:8080,10.0.0.2:8080,10.0.0.3:8080`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadServeConfig(a.v)
			if err != nil {
				return usageErrorf("%w", err)
			}
			log := cfg.logger(a.err)
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			context.AfterFunc(ctx, stop) // a second signal ends the process at once
			defer stop()
			return serve(ctx, cfg, log)
		},
	}
	addServeFlags(cmd.Flags())
	return cmd
}

// serve runs a member until ctx ends (then it returns nil) or the member cannot go
// on.
func serve(ctx context.Context, cfg *serveConfig, log *slog.Logger) error {
	ln, err := listen(cfg.Listen)
	if err != nil {
		return err
	}
	if cfg.token == "" && !isLoopback(ln.Addr()) { // a name that does not mean what it seems to
		_ = ln.Close()
		return fmt.Errorf("--listen %s: is %s here, which other machines can reach: give --token-file, or listen on 127.0.0.1", cfg.Listen, ln.Addr())
	}
	collector.CollectLess()
	advertise := cfg.advertise(ln.Addr())
	engine, err := raftdb.Open(raftdb.Config{
		Dir: cfg.DataDir, Name: cfg.Name, Advertise: advertise, Join: cfg.Join, BootstrapExpect: cfg.BootstrapExpect,
		Token: cfg.token, TLS: cfg.peerTLS, Version: version, MinFreeBytes: cfg.MinFreeBytes, Logger: log,
	})
	if err != nil {
		_ = ln.Close()
		return fmt.Errorf("--data-dir %s: %w", cfg.DataDir, err)
	}
	log.Info("serving", "version", version, "name", cfg.Name, "listen", ln.Addr().String(), "advertise", advertise, "data_dir", cfg.DataDir)
	err = runMember(ctx, engine, ln, cfg, log)
	return errors.Join(err, closeEngine(engine, log))
}

// listen opens the port; a port in use is the mistake that is made most often.
func listen(address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("--listen %s: the port is in use: stop what uses it, or give another port", address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("--listen %s: this user may not open the port: give one from 1024 on", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("--listen %s: this machine has no such address: give one that it has, or :PORT for all", address)
	case err != nil:
		return nil, fmt.Errorf("--listen %s: %w", address, err)
	}
	return ln, nil
}

// runMember wires a member on an engine and serves it. The manifest goes on until
// the server has drained: calls in flight still need it.
func runMember(ctx context.Context, engine *raftdb.Engine, ln net.Listener, cfg *serveConfig, log *slog.Logger) error {
	tasks := db.NewTaskManifest(engine)
	tasks.SetLogger(log)
	tasks.SetRetention(cfg.retention())
	tasks.SetTaskRetention(cfg.taskRetention())
	tasks.SetNodeRetention(db.NodeRetention(cfg.KeepNodes))
	tracing, stopTracing, err := startTracing(ctx, cfg, log)
	if err != nil {
		_ = ln.Close()
		return err
	}
	defer stopTracing()
	handler, err := service.New(service.Config{
		Tasks: tasks, Scheduler: scheduler.New(tasks, log), Admin: engine, Raft: engine.Handler(), Ready: tasks.CaughtUp,
		Token: cfg.token, CORSOrigins: cfg.CORSOrigins, PeerTLS: cfg.peerTLS, Loopback: isLoopback(ln.Addr()),
		Version: version, Logger: log, Tracing: tracing,
	})
	if err != nil {
		_ = ln.Close()
		return err
	}
	serving, stopServing := context.WithCancelCause(ctx)
	defer stopServing(nil)
	running, stopRunning := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() {
		err := tasks.Run(running)
		if err != nil {
			stopServing(fmt.Errorf("this member can no longer lead: %w", err))
		}
		ran <- err
	}()
	go func() {
		select {
		case <-engine.Failed():
			stopServing(fmt.Errorf("this member has to stop: %w", engine.Err()))
		case <-running.Done():
		}
	}()
	err = service.Serve(serving, ln, handler, cfg.serverTLS, log)
	stopRunning()
	if runErr := <-ran; runErr != nil {
		log.Warn("this member could no longer lead", "error", runErr)
	}
	if cause := context.Cause(serving); err == nil && ctx.Err() == nil {
		err = cause // not asked to stop
	}
	return err
}

func closeEngine(engine *raftdb.Engine, log *slog.Logger) error {
	closed := make(chan error, 1)
	go func() { closed <- engine.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeTimeout):
		log.Warn("closing the state takes too long: ending without", "limit", closeTimeout)
		return nil
	}
}
