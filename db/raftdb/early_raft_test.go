package raftdb

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// gatedLog is a log whose writes can be held up.
type gatedLog struct {
	*raft.InmemStore
	storing func([]*raft.Log)

	mu   sync.Mutex
	held chan struct{} // closed when writes may go on
	has  chan uint64   // what is written
}

func (g *gatedLog) hold() (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := make(chan struct{})
	g.held = held
	return func() { close(held) }
}

func (g *gatedLog) StoreLogs(logs []*raft.Log) error {
	g.storing(logs)
	g.mu.Lock()
	held := g.held
	g.mu.Unlock()
	if held != nil {
		<-held
	}
	err := g.InmemStore.StoreLogs(logs)
	for _, l := range logs {
		g.has <- l.Index
	}
	return err
}

// applied tells what its member applies.
type applied chan string

func (a applied) Apply(l *raft.Log) any             { a <- string(l.Data); return nil }
func (applied) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.ErrUnsupported }
func (applied) Restore(io.ReadCloser) error         { return errors.ErrUnsupported }

// TestFollowersStoreWhileTheLeaderDoes is about the library itself: followers have the entry
// while the leader is still at it, nobody takes it for committed, and once the leader has it
// they need not be asked again.
func TestFollowersStoreWhileTheLeaderDoes(t *testing.T) {
	type server struct {
		raft *raft.Raft
		log  *gatedLog
		fsm  applied
	}
	var servers []*server
	var configuration raft.Configuration
	var transports []*earlyTransport
	for i := range 3 {
		tcp, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, 3, 10*time.Second, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		defer tcp.Close()
		id := raft.ServerID(fmt.Sprint("m", i+1))
		configuration.Servers = append(configuration.Servers, raft.Server{ID: id, Address: tcp.LocalAddr()})
		transports = append(transports, newEarlyTransport(tcp, func() uint64 { return 0 }))
	}
	for i, tr := range transports {
		s := &server{log: &gatedLog{InmemStore: raft.NewInmemStore(), storing: tr.storing, has: make(chan uint64, 1000)}, fsm: make(applied, 1000)}
		c := raft.DefaultConfig()
		c.LocalID, c.Logger = configuration.Servers[i].ID, hclog.NewNullLogger()
		c.HeartbeatTimeout = time.Minute // the first is to lead, and machines are busy
		if i == 0 {
			c.HeartbeatTimeout = 2 * time.Second
		}
		c.ElectionTimeout, c.LeaderLeaseTimeout = c.HeartbeatTimeout, c.HeartbeatTimeout
		stable, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		if err := raft.BootstrapCluster(c, s.log, stable, snapshots, tr, configuration); err != nil {
			t.Fatal(err)
		}
		var err error
		if s.raft, err = raft.NewRaft(c, s.fsm, s.log, stable, snapshots, tr); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.raft.Shutdown().Error(); err != nil {
				t.Error(err)
			}
		}()
		servers = append(servers, s)
	}
	leader := servers[0]
	if !<-leader.raft.LeaderCh() {
		t.Fatal("the first server does not lead")
	}
	apply := func(what string) raft.ApplyFuture { return leader.raft.Apply([]byte(what), time.Minute) }
	// It waits until they have the entry.
	followersHave := func(index uint64) {
		for _, s := range servers {
			for s != leader && <-s.log.has < index {
			}
		}
	}
	index := uint64(0)
	for ready := false; !ready; { // a pipeline follows some messages without
		before := apply("before")
		if err := before.Error(); err != nil {
			t.Fatal(err)
		}
		index = before.Index()
		followersHave(index)
		ready = sentBy(transports, index) == 2
	}
	release := leader.log.hold()
	future := apply("held")
	index++
	followersHave(index)
	if got := leader.raft.CommitIndex(); got >= index {
		t.Errorf("the leader takes entry %d for committed, which it has not stored", got)
	}
	if got := leader.raft.LastIndex(); got >= index {
		t.Errorf("the leader has entry %d", got)
	}
	release()
	if err := future.Error(); err != nil {
		t.Fatal(err)
	}
	if got := future.Index(); got != index {
		t.Errorf("the entry is %d, want %d", got, index)
	}
	for _, s := range servers {
		var all []string
		for len(all) == 0 || all[len(all)-1] != "held" {
			all = append(all, <-s.fsm)
		}
		if n := strings.Count(strings.Join(all, "\n"), "held"); n != 1 {
			t.Errorf("it was applied %d times", n)
		}
	}
}

// sentBy is how many pipelines have sent the entry at an index.
func sentBy(transports []*earlyTransport, index uint64) (n int) {
	for _, tr := range transports {
		tr.mu.Lock()
		for p := range tr.open {
			p.sending.Lock()
			if p.sent.index == index {
				n++
			}
			p.sending.Unlock()
		}
		tr.mu.Unlock()
	}
	return n
}
