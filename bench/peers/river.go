package main

import (
	"context"
	"log/slog"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/raft-control-plane/control-plane/internal/bench"
)

// riverQueue is River's client library on PostgreSQL.
type riverQueue struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx] // it only inserts
}

// riverCooldown is the shortest wait between fetches: the least that there is, as latency
// wants it.
const riverCooldown = river.FetchCooldownMin

// riverArgs are a job's.
type riverArgs struct {
	Payload string `json:"payload"`
}

// Kind implements river.JobArgs.
func (riverArgs) Kind() string { return "bench" }

func startRiver(ctx context.Context, e *env) (*running, error) {
	p, pool, version, err := postgresServer(ctx, e)
	if err != nil {
		return nil, err
	}
	stop := func() {
		pool.Close()
		p.stop(syscall.SIGINT)
	}
	t := &riverQueue{pool: pool}
	if err := t.prepare(ctx); err != nil {
		stop()
		return nil, err
	}
	return &running{version: riverVersion() + " on " + version, config: bench.Config{Target: t, ServerCPU: p.cpu}, stop: stop}, nil
}

func (t *riverQueue) prepare(ctx context.Context) error {
	driver := riverpgxv5.New(t.pool)
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	// The wait bounds how often one that inserts wakes workers, too.
	t.client, err = river.NewClient(driver, &river.Config{FetchCooldown: riverCooldown, Logger: slog.New(slog.DiscardHandler)})
	return err
}

func riverVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/riverqueue/river" {
				return m.Version
			}
		}
	}
	return ""
}

// Open implements bench.Target.
func (t *riverQueue) Open(context.Context, string) error { return nil }

// Submit implements bench.Target.
func (t *riverQueue) Submit(ctx context.Context, queue string, payload []byte) error {
	_, err := t.client.Insert(ctx, riverArgs{string(payload)}, &river.InsertOpts{Queue: queue})
	return err
}

// SubmitBatch implements bench.Target, by COPY.
func (t *riverQueue) SubmitBatch(ctx context.Context, queue string, payloads [][]byte) error {
	jobs := make([]river.InsertManyParams, 0, len(payloads))
	for _, payload := range payloads {
		jobs = append(jobs, river.InsertManyParams{Args: riverArgs{string(payload)}, InsertOpts: &river.InsertOpts{Queue: queue}})
	}
	_, err := t.client.InsertManyFast(ctx, jobs)
	return err
}

// Work implements bench.Target. River records what is done many at a time by itself.
func (t *riverQueue) Work(ctx context.Context, queue string, slots int, run func([]byte)) (stop func() error, err error) {
	if _, err := t.pool.Exec(ctx, analyze+"river_job"); err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(_ context.Context, job *river.Job[riverArgs]) error {
		run([]byte(job.Args.Payload))
		return nil
	}))
	c, err := river.NewClient(riverpgxv5.New(t.pool), &river.Config{
		Queues: map[string]river.QueueConfig{queue: {MaxWorkers: slots}}, Workers: workers,
		FetchCooldown: riverCooldown, FetchPollInterval: time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	return func() error { return c.Stop(context.WithoutCancel(ctx)) }, nil
}

// Recorded implements bench.Target.
func (t *riverQueue) Recorded(ctx context.Context, queue string) (n int64, err error) {
	err = t.pool.QueryRow(ctx, "SELECT count(*) FROM river_job WHERE queue = $1 AND state = 'completed'", queue).Scan(&n)
	return n, err
}
