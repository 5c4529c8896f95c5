package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/raft-control-plane/control-plane/internal/bench"
)

// system is one that can be loaded.
type system struct {
	name, title string
	// durability says what an acknowledgement stands for.
	durability string
	start      func(ctx context.Context, e *env) (*running, error)
}

// running is a system that was started.
type running struct {
	version string
	// config has the Target, or the Client, and the CPU of the servers.
	config bench.Config
	stop   func()
}

// env is where a system is started.
type env struct {
	*options
	dir string // its own
}

// errMissing is in the chain of the error of a system that is not installed.
var errMissing = errors.New("not installed")

// systems are all, in the order of the tables. Ratios are to the first.
func systems() []system {
	return []system{
		{"ours-1", "this control plane, 1 member", "fsync of the log on every acknowledgement", startOurs(1)},
		{"ours-3", "this control plane, 3 members", "fsync of the log by 2 of 3 members on every acknowledgement", startOurs(3)},
		{"nats-1", "NATS JetStream, R1", "`sync_interval: always`: fsync of the stream on every acknowledgement", startNATS(1)},
		{"nats-3", "NATS JetStream, R3", "`sync_interval: always` on 3 servers, 2 of them on every acknowledgement", startNATS(3)},
		{"postgres", "PostgreSQL, SKIP LOCKED by hand", "`fsync=on`, `synchronous_commit=on`", startPostgres},
		{"river", "PostgreSQL with River", "`fsync=on`, `synchronous_commit=on`", startRiver},
		{"etcd-1", "etcd, 1 member", "fsync of the log on every acknowledgement", startEtcd(1)},
		{"etcd-3", "etcd, 3 members", "fsync of the log by 2 of 3 members on every acknowledgement", startEtcd(3)},
	}
}

func systemNames() (names []string) {
	for _, s := range systems() {
		names = append(names, s.name)
	}
	return names
}

func (o *options) chosen() (chosen []system) {
	for _, s := range systems() {
		if slices.Contains(o.systems, s.name) {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

// startTimeout is how long a system may take until it works.
const startTimeout = 60 * time.Second

// until asks again until something holds.
func until(ctx context.Context, what string, holds func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		try, stop := context.WithTimeout(ctx, 5*time.Second)
		err := holds(try)
		stop()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(errors.New(what), err)
		}
	}
}
