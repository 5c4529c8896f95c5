package raftdb

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/internal/testport"
)

// testTimeout bounds what a test waits for; nothing should come near it.
const testTimeout = 60 * time.Second

// member is an engine with a manifest, behind an HTTP server on loopback.
type member struct {
	t      testing.TB
	cfg    Config
	engine *Engine
	tasks  *db.TaskManifest
	server *http.Server
	stop   context.CancelFunc
	ran    chan error
}

// calmTiming leaves snapshots to the tests. Its elections take some seconds, so that a leader
// stays one on a busy machine; the first waits for nothing.
var calmTiming = Timing{Heartbeat: 2 * time.Second, SnapshotInterval: time.Hour}

// newMember prepares a member with an address; start starts it.
func newMember(t testing.TB, name string) *member {
	t.Helper()
	return &member{t: t, cfg: Config{Dir: t.TempDir(), Name: name, Advertise: testport.Address(t), Version: "test",
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})), Timing: calmTiming}}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

func (m *member) start() *member {
	m.t.Helper()
	if err := m.tryStart(); err != nil {
		m.t.Fatalf("start %s: %v", m.cfg.Name, err)
	}
	m.t.Cleanup(m.close)
	return m
}

func (m *member) tryStart() error {
	engine, err := Open(m.cfg)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", m.cfg.Advertise)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/raft", engine.Handler())
	mux.Handle("/raft/", engine.Handler())
	m.engine, m.server = engine, &http.Server{Handler: mux}
	go func(s *http.Server) { _ = s.Serve(l) }(m.server)
	m.tasks = db.NewTaskManifest(engine)
	m.tasks.SetLogger(m.cfg.Logger)
	if m.cfg.SchemaVersion > 0 {
		m.tasks.SetMigrations(releaseOf(m.cfg.SchemaVersion))
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop, m.ran = stop, make(chan error, 1)
	go func() { m.ran <- m.tasks.Run(ctx) }()
	return nil
}

func (m *member) close() {
	if m.engine == nil {
		return
	}
	m.stop()
	if err := <-m.ran; err != nil {
		m.t.Errorf("%s led until: %v", m.cfg.Name, err)
	}
	_ = m.server.Close()
	if err := m.engine.Close(); err != nil {
		m.t.Errorf("close %s: %v", m.cfg.Name, err)
	}
	m.engine = nil
}

// startOnCopy starts a member that failed, in whose place a process would have ended,
// on a copy of its files.
func (m *member) startOnCopy() {
	m.t.Helper()
	m.stop()
	<-m.ran
	_ = m.server.Close()
	_ = m.engine.Close()
	dir := m.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(m.cfg.Dir)); err != nil {
		m.t.Fatal(err)
	}
	m.cfg.Dir = dir
	if err := m.tryStart(); err != nil {
		m.t.Fatal(err)
	}
}

// newCluster starts n members that form a cluster together.
func newCluster(t *testing.T, n int) []*member {
	t.Helper()
	return newClusterOf(t, n, func(*member) {})
}

// newClusterOf is newCluster with other settings.
func newClusterOf(t *testing.T, n int, set func(*member)) []*member {
	t.Helper()
	members := make([]*member, n)
	var all []string
	for i := range members {
		members[i] = newMember(t, fmt.Sprintf("m%d", i+1))
		all = append(all, members[i].cfg.Advertise)
	}
	for _, m := range members {
		m.cfg.Join, m.cfg.BootstrapExpect = all, n
		set(m)
		m.start()
	}
	return members
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// leader waits until one of the members takes writes.
func leader(t *testing.T, members []*member) *member {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	found := make(chan *member, len(members))
	for _, m := range members {
		if m.engine == nil {
			continue
		}
		tasks := m.tasks // m may be started anew before this looks
		go func() {
			if tasks.AwaitWritable(ctx) == nil {
				found <- m
			}
		}()
	}
	select {
	case m := <-found:
		return m
	case <-ctx.Done():
		t.Fatal("no leader")
		return nil
	}
}

// add stores a task at the leader, whoever that is.
func add(t *testing.T, members []*member, id string) *controlplane.Task {
	t.Helper()
	ctx := testContext(t)
	for {
		task, err := leader(t, members).tasks.AddTask(ctx, &controlplane.Task{ID: id, Exec: &controlplane.Exec{Command: []string{"true"}}})
		switch controlplane.CodeOf(err) {
		case controlplane.CodeUnavailable, controlplane.CodeUnknownOutcome:
			continue
		}
		if err != nil {
			t.Fatalf("add %s: %v", id, err)
		}
		return task
	}
}

// contentHash hashes the tables as a verification does.
func contentHash(t testing.TB, m *member) string {
	t.Helper()
	r, err := pinned(m.engine.fsm.state)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.conn.Close() }()
	defer r.end()
	tables, err := hashTables(r.conn)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(tables) // maps print in the order of their keys
}

// sameContent waits until all members have applied what the leader has, and compares
// them. What is still written meanwhile, as by a member that has just joined, makes it
// begin again.
func sameContent(t *testing.T, members []*member) {
	t.Helper()
	for ctx := testContext(t); ctx.Err() == nil; {
		if comparedAtOneIndex(ctx, t, members) {
			return
		}
	}
	t.Fatalf("the members moved on for %s: stop writing first", testTimeout)
}

// comparedAtOneIndex compares the members if nothing is written meanwhile.
func comparedAtOneIndex(ctx context.Context, t *testing.T, members []*member) bool {
	t.Helper()
	index := leader(t, members).engine.AppliedIndex()
	hashes := make([]string, len(members))
	for i, m := range members {
		if err := m.engine.AwaitApplied(ctx, index); err != nil {
			t.Fatalf("%s does not reach index %d: %v", m.cfg.Name, index, err)
		}
		hashes[i] = contentHash(t, m)
		if m.engine.AppliedIndex() != index {
			return false
		}
	}
	for i, m := range members {
		if hashes[i] != hashes[0] {
			t.Errorf("%s has other content than %s at index %d", m.cfg.Name, members[0].cfg.Name, index)
		}
	}
	return true
}

// until calls try until it is content: for what happens by itself.
func until(t *testing.T, what string, try func() bool) {
	t.Helper()
	for ctx := testContext(t); !try(); time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("%s: not within %s", what, testTimeout)
		}
	}
}
