package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/raft-control-plane/control-plane/internal/bench"
)

// postgresConfig is tuned for many small commits. Nothing of it weakens them.
const postgresConfig = `
listen_addresses = '127.0.0.1'
port = %d
unix_socket_directories = ''
max_connections = 200
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = minimal
max_wal_senders = 0
wal_buffers = 64MB
min_wal_size = 2GB
max_wal_size = 16GB
checkpoint_timeout = 30min
shared_buffers = 512MB
random_page_cost = 1.1
autovacuum_naptime = 10s
autovacuum_vacuum_cost_delay = 0
`

// postgresServer starts PostgreSQL in a directory, and returns a pool of connections to it.
func postgresServer(ctx context.Context, e *env) (p *processes, pool *pgxpool.Pool, version string, err error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, nil, "", err
	}
	as := ""
	if os.Geteuid() == 0 { // as whom it refuses to run
		as = e.postgresUser
		if _, err := credential(as); err != nil {
			return nil, nil, "", fmt.Errorf("the user %s is %w: give another by -postgres-user", as, errMissing)
		}
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, nil, "", err
	}
	data := filepath.Join(e.dir, "data")
	if err := initPostgres(bin, e.dir, data, as, ports[0]); err != nil {
		return nil, nil, "", err
	}
	p = &processes{log: filepath.Join(e.dir, "log")}
	if err := p.start(data, as, filepath.Join(bin, "postgres"), "-D", data); err != nil {
		return nil, nil, "", err
	}
	pool, err = connectPostgres(ctx, ports[0], e.callers+8)
	if err != nil {
		p.stop(syscall.SIGINT)
		return nil, nil, "", fmt.Errorf("%w\n%s", err, p.said())
	}
	version = strings.TrimPrefix(output(filepath.Join(bin, "postgres"), "--version"), "postgres (PostgreSQL) ")
	return p, pool, version, nil
}

// findPostgres returns the directory of its programs: the newest of Debian's, or where the
// path leads.
func findPostgres() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("PostgreSQL is %w: apt-get install postgresql", errMissing)
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

func initPostgres(bin, dir, data, as string, port int) error {
	p := &processes{log: filepath.Join(dir, "initdb.log")}
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	if as != "" {
		if err := own(dir, as); err != nil {
			return err
		}
	}
	if err := p.start(dir, as, filepath.Join(bin, "initdb"), "-D", data, "-U", "bench", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"); err != nil {
		return err
	}
	if err := p.all[0].Wait(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, p.said())
	}
	f, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, postgresConfig, port)
	return errors.Join(err, f.Close())
}

func connectPostgres(ctx context.Context, port, conns int) (*pgxpool.Pool, error) {
	pool, err := pgxpool.New(ctx, fmt.Sprintf("postgres://bench@127.0.0.1:%d/postgres?sslmode=disable&pool_max_conns=%d", port, conns))
	if err != nil {
		return nil, err
	}
	if err := until(ctx, "PostgreSQL does not work", pool.Ping); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

const postgresSchema = `
CREATE TABLE tasks (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	queue text NOT NULL,
	status smallint NOT NULL DEFAULT 0, -- 0 pending, 1 running, 2 done
	attempt int NOT NULL DEFAULT 0,
	payload bytea NOT NULL,
	result bytea,
	create_time timestamptz NOT NULL DEFAULT now(),
	end_time timestamptz
);
CREATE INDEX tasks_pending ON tasks (queue, id) WHERE status = 0;
`

const (
	postgresTake = `
UPDATE tasks SET status = 1, attempt = attempt + 1 WHERE id = ANY(ARRAY(
	SELECT id FROM tasks WHERE queue = $1 AND status = 0 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
)) RETURNING id, payload`
	postgresDone = `UPDATE tasks SET status = 2, result = $2, end_time = now() WHERE id = ANY($1) AND status = 1`
)

// postgresQueue is a queue as one writes it by hand: tasks are taken and recorded many at a
// time, and whoever waits for tasks is woken.
type postgresQueue struct {
	pool  *pgxpool.Pool
	added chan struct{} // one token: somebody is to be woken
}

func startPostgres(ctx context.Context, e *env) (*running, error) {
	p, pool, version, err := postgresServer(ctx, e)
	if err != nil {
		return nil, err
	}
	stop := func() {
		pool.Close()
		p.stop(syscall.SIGINT)
	}
	if _, err := pool.Exec(ctx, postgresSchema); err != nil {
		stop()
		return nil, err
	}
	t := &postgresQueue{pool: pool, added: make(chan struct{}, 1)}
	waking, end := context.WithCancel(ctx)
	var waker sync.WaitGroup
	waker.Go(func() { t.wake(waking) })
	return &running{version: version, config: bench.Config{Target: t, ServerCPU: p.cpu}, stop: func() {
		end()
		waker.Wait()
		stop()
	}}, nil
}

// wake tells workers of new tasks, once for all that came meanwhile: a NOTIFY in each
// submission would have them commit one after the other.
func (t *postgresQueue) wake(ctx context.Context) {
	for {
		select {
		case <-t.added:
			_, _ = t.pool.Exec(ctx, "NOTIFY tasks") // workers also look by themselves
		case <-ctx.Done():
			return
		}
	}
}

func (t *postgresQueue) wakeLater() {
	select {
	case t.added <- struct{}{}:
	default:
	}
}

// Open implements bench.Target.
func (t *postgresQueue) Open(context.Context, string) error { return nil }

// Submit implements bench.Target.
func (t *postgresQueue) Submit(ctx context.Context, queue string, payload []byte) error {
	_, err := t.pool.Exec(ctx, "INSERT INTO tasks (queue, payload) VALUES ($1, $2)", queue, payload)
	t.wakeLater()
	return err
}

// SubmitBatch implements bench.Target, by COPY.
func (t *postgresQueue) SubmitBatch(ctx context.Context, queue string, payloads [][]byte) error {
	_, err := t.pool.CopyFrom(ctx, pgx.Identifier{"tasks"}, []string{"queue", "payload"},
		pgx.CopyFromSlice(len(payloads), func(i int) ([]any, error) { return []any{queue, payloads[i]}, nil }))
	t.wakeLater()
	return err
}

// Recorded implements bench.Target.
func (t *postgresQueue) Recorded(ctx context.Context, queue string) (n int64, err error) {
	err = t.pool.QueryRow(ctx, "SELECT count(*) FROM tasks WHERE queue = $1 AND status = 2", queue).Scan(&n)
	return n, err
}

// postgresTask is one that was taken.
type postgresTask struct {
	id      int64
	payload []byte
}

// postgresWorker takes tasks for its free slots, and records what is done together.
type postgresWorker struct {
	*postgresQueue
	queue  string
	free   chan struct{}
	ended  chan int64
	listen *pgx.Conn
	woken  chan struct{}
}

// analyze is what autovacuum would do within a minute: without it plans are made for the
// empty table that there was.
const analyze = "VACUUM ANALYZE "

// Work implements bench.Target.
func (t *postgresQueue) Work(ctx context.Context, queue string, slots int, run func([]byte)) (stop func() error, err error) {
	if _, err := t.pool.Exec(ctx, analyze+"tasks"); err != nil {
		return nil, err
	}
	w := &postgresWorker{postgresQueue: t, queue: queue, free: make(chan struct{}, slots), ended: make(chan int64, slots), woken: make(chan struct{}, 1)}
	if w.listen, err = pgx.ConnectConfig(ctx, t.pool.Config().ConnConfig); err != nil {
		return nil, err
	}
	if _, err = w.listen.Exec(ctx, "LISTEN tasks"); err != nil {
		return nil, err
	}
	for range slots {
		w.free <- struct{}{}
	}
	taking, cancel := context.WithCancel(ctx)
	var first onceError
	var taker, listener, works, recorder sync.WaitGroup
	listener.Go(func() { w.hear(taking) })
	taker.Go(func() {
		first.set(w.takeAll(taking, func(task postgresTask) {
			works.Go(func() {
				run(task.payload)
				w.ended <- task.id
			})
		}))
	})
	recorder.Go(func() { first.set(w.record(ctx)) })
	return func() error {
		cancel()
		taker.Wait()
		works.Wait()
		close(w.ended)
		recorder.Wait()
		listener.Wait()
		_ = w.listen.Close(ctx)
		return first.get()
	}, nil
}

// hear waits for notifications.
func (w *postgresWorker) hear(ctx context.Context) {
	for {
		if _, err := w.listen.WaitForNotification(ctx); err != nil {
			return
		}
		select {
		case w.woken <- struct{}{}:
		default:
		}
	}
}

// takeAll takes tasks whenever slots are free, until ctx ends.
func (w *postgresWorker) takeAll(ctx context.Context, do func(postgresTask)) error {
	for {
		n := 1
		select {
		case <-w.free:
		case <-ctx.Done():
			return nil
		}
		for more := true; more; {
			select {
			case <-w.free:
				n++
			default:
				more = false
			}
		}
		// What has been taken is to be run, so this does not end with ctx.
		tasks, err := w.take(context.WithoutCancel(ctx), n)
		if err != nil {
			return err
		}
		for _, task := range tasks {
			do(task)
		}
		for range n - len(tasks) {
			w.free <- struct{}{}
		}
		if len(tasks) == n {
			continue
		}
		select {
		case <-w.woken:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *postgresWorker) take(ctx context.Context, n int) ([]postgresTask, error) {
	rows, err := w.pool.Query(ctx, postgresTake, w.queue, n)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (task postgresTask, err error) {
		err = row.Scan(&task.id, &task.payload)
		return task, err
	})
}

// record records what has ended, together, and frees the slots.
func (w *postgresWorker) record(ctx context.Context) error {
	for id := range w.ended {
		ids := []int64{id}
		for more := true; more; {
			select {
			case id, ok := <-w.ended:
				if more = ok; ok {
					ids = append(ids, id)
				}
			default:
				more = false
			}
		}
		if _, err := w.pool.Exec(ctx, postgresDone, ids, []byte("true")); err != nil {
			return err
		}
		for range ids {
			w.free <- struct{}{}
		}
	}
	return nil
}
