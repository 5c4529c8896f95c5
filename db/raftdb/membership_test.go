package raftdb

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// settles waits until the cluster has the member as a voter at its address.
func settles(t *testing.T, m *member) {
	t.Helper()
	ctx := testContext(t)
	for !m.engine.settled() {
		if err := m.engine.AwaitApplied(ctx, m.engine.AppliedIndex()+1); err != nil && !m.engine.settled() {
			t.Fatalf("%s does not become a voter: %v", m.cfg.Name, m.engine.servers())
		}
	}
}

func follower(t *testing.T, members []*member) *member {
	lead := leader(t, members)
	for _, m := range members {
		if m != lead {
			return m
		}
	}
	return nil
}

func TestAWipedVoterJoinsAnewUnderItsName(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	m := follower(t, members)
	former := m.engine.self.serverID()
	m.close()
	if err := os.RemoveAll(m.cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if err := m.tryStart(); err != nil {
		t.Fatal(err)
	}
	settles(t, m)
	add(t, members, "b")
	sameContent(t, members)
	servers := leader(t, members).engine.servers()
	if len(servers) != 3 {
		t.Errorf("the configuration has %d servers: %v", len(servers), servers)
	}
	for _, s := range servers {
		if s.ID == former || s.Suffrage != raft.Voter {
			t.Errorf("the configuration still has %v", s)
		}
	}
}

func TestAMemberMayComeBackAtAnotherAddress(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	m := follower(t, members)
	m.close()
	m.cfg.Advertise = newMember(t, "unused").cfg.Advertise
	if err := m.tryStart(); err != nil {
		t.Fatal(err)
	}
	settles(t, m)
	add(t, members, "b")
	sameContent(t, members)
}

func TestASecondMemberOfALivingNameIsRefused(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	twin := newMember(t, members[0].cfg.Name)
	twin.cfg.Join = members[0].cfg.Join
	twin.start()
	if err := twin.engine.join(testContext(t)); err == nil || !strings.Contains(err.Error(), "is alive at") {
		t.Errorf("join of a twin: %v", err)
	}
	add(t, members, "b")
}

func TestAMemberOfAnotherClusterIsRefused(t *testing.T) {
	m1, m2 := newMember(t, "m1").start(), newMember(t, "m2").start()
	add(t, []*member{m1}, "a")
	add(t, []*member{m2}, "a")
	_, err := m2.engine.peers.info(testContext(t), m1.cfg.Advertise)
	if err == nil || !strings.Contains(err.Error(), "is of cluster") {
		t.Errorf("a call from another cluster: %v", err)
	}
	if _, err := m2.engine.streams.Dial(raft.ServerAddress(m1.cfg.Advertise), 5*time.Second); err == nil || !strings.Contains(err.Error(), "is of cluster") {
		t.Errorf("a stream from another cluster: %v", err)
	}
}

func TestTheTokenIsAskedForByEveryPath(t *testing.T) {
	m := newMember(t, "m1")
	m.cfg.Token = "secret"
	m.start()
	for _, path := range []string{"GET /raft", "GET /raft/member", "POST /raft/term", "POST /raft/read-index", "POST /raft/join"} {
		for _, token := range []string{"", "Bearer wrong", "secret"} {
			method, path, _ := strings.Cut(path, " ")
			req, _ := http.NewRequest(method, "http://"+m.cfg.Advertise+path, strings.NewReader("{}"))
			req.Header.Set("Authorization", token)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s with %q: %s", method, path, token, resp.Status)
			}
		}
	}
}

func TestALeaderWithoutAMajorityConfirmsNothing(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	lead := leader(t, members)
	for _, m := range members {
		if m != lead {
			m.close()
		}
	}
	ctx, cancel := context.WithTimeout(testContext(t), 2*time.Second)
	defer cancel()
	if _, err := lead.tasks.GetTask(ctx, "a"); controlplane.CodeOf(err) != controlplane.CodeUnavailable && controlplane.CodeOf(err) != controlplane.CodeDeadline {
		t.Errorf("a linearizable read without a majority: %v", err)
	}
	if _, err := lead.tasks.GetTask(testContext(t), "a", db.ReadOptions{Level: db.Stale}); err != nil {
		t.Errorf("a stale read without a majority: %v", err)
	}
}

// A member in a later term has seen, or may have voted in, a later election: its
// answer must not confirm an earlier leader.
func TestALaterTermDoesNotConfirm(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	lead := leader(t, members)
	lead.engine.leader.mu.Lock()
	span := lead.engine.leader.span
	span.term-- // as if the election of the present term had been another's
	lead.engine.leader.mu.Unlock()
	if _, err := lead.engine.confirmLeadership(); err == nil {
		t.Error("a leader of the term before was confirmed")
	}
	lead.engine.leader.mu.Lock()
	span.term++
	lead.engine.leader.mu.Unlock()
	for ctx := testContext(t); ; { // on a slow machine another may lead by now
		_, err := leader(t, members).engine.confirmLeadership()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("no leader was confirmed: %v", err)
		}
	}
}
