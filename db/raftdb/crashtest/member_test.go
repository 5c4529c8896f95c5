package crashtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/db/raftdb"
)

// patience bounds what a test waits for; nothing should come near it.
const patience = 60 * time.Second

// timing makes a small load rotate, snapshot and cut the log.
var timing = raftdb.Timing{
	Heartbeat: 300 * time.Millisecond, SnapshotInterval: time.Hour, TrailingEntries: 4, SegmentBytes: 16 << 10,
}

// member is an engine with a manifest, behind an HTTP server.
type member struct {
	engine *raftdb.Engine
	tasks  *db.TaskManifest
	server *http.Server
	stop   context.CancelFunc
	ran    chan error
}

func open(cfg raftdb.Config) (*member, error) {
	l, err := net.Listen("tcp", cfg.Advertise)
	if err != nil {
		return nil, err
	}
	engine, err := raftdb.Open(cfg)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/raft", engine.Handler())
	mux.Handle("/raft/", engine.Handler())
	ctx, stop := context.WithCancel(context.Background())
	m := &member{engine: engine, tasks: db.NewTaskManifest(engine), server: &http.Server{Handler: mux}, stop: stop, ran: make(chan error, 1)}
	m.tasks.SetLogger(cfg.Logger)
	go func() { _ = m.server.Serve(l) }()
	go func() { m.ran <- m.tasks.Run(ctx) }()
	return m, nil
}

func (m *member) close() error {
	m.stop()
	ran := <-m.ran
	return errors.Join(ran, m.server.Close(), m.engine.Close())
}

func config(dir, name, address string) raftdb.Config {
	return raftdb.Config{Dir: dir, Name: name, Advertise: address, Version: "test", Timing: timing, Logger: slog.New(slog.DiscardHandler)}
}

// add stores a task that is large enough for a few to fill a file of the log. Its entry is
// packed, to somewhat more than the half in which nothing repeats.
func (m *member) add(ctx context.Context, id string) error {
	payload := make([]byte, 4<<10)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(id))).Read(payload[:2<<10])
	_, err := m.tasks.AddTask(ctx, &controlplane.Task{ID: id, Function: &controlplane.Function{Name: "f", Payload: payload}})
	return err
}

// lacks returns an error if this member's own state is damaged or lacks a task.
func (m *member) lacks(ctx context.Context, ids []string) error {
	there := map[string]bool{}
	_, err := m.engine.Read(ctx, db.ReadOptions{Level: db.Stale}, func(c db.Conn) error {
		check, err := column(c, "PRAGMA integrity_check")
		if err != nil {
			return err
		}
		if len(check) != 1 || check[0] != "ok" {
			return fmt.Errorf("the database is damaged: %v", check)
		}
		have, err := column(c, "SELECT id FROM tasks")
		for _, id := range have {
			there[id] = true
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !there[id] {
			return fmt.Errorf("task %s was acknowledged and is gone: %d of %d are there", id, len(there), len(ids))
		}
	}
	return nil
}

func column(c db.Conn, sql string) (values []string, err error) {
	r, err := c.Query(sql)
	if err != nil {
		return nil, err
	}
	for r.Next() {
		values = append(values, r.Text(0))
	}
	return values, r.Close()
}
