package raftdb

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// listens makes a member tell of log lines that hold a text.
func (m *member) listens(text string) <-chan string {
	heard := make(chan string, 1)
	m.cfg.Logger = slog.New(hearing{m.cfg.Logger.Handler(), text, heard})
	return heard
}

func hears(t *testing.T, heard <-chan string, want ...string) {
	t.Helper()
	select {
	case line := <-heard:
		for _, w := range want {
			if !strings.Contains(line, w) {
				t.Errorf("no %q in %s", w, line)
			}
		}
	case <-testContext(t).Done():
		t.Error("nothing is said")
	}
}

// refusesReads checks that a removed member says so at once.
func refusesReads(t *testing.T, m *member) {
	t.Helper()
	_, err := m.tasks.GetTask(testContext(t), "a")
	if controlplane.CodeOf(err) != controlplane.CodeUnavailable || !strings.Contains(err.Error(), "was removed from the cluster") {
		t.Errorf("a read at a removed member: %v", err)
	}
	if _, err := m.tasks.GetTask(testContext(t), "a", db.ReadOptions{Level: db.Stale}); err != nil {
		t.Errorf("a stale read at a removed member: %v", err)
	}
}

func TestARemovedMemberIsToldSoAndDisturbsNobody(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	lead := leader(t, members)
	var away, stays *member
	for _, m := range members {
		if m != lead {
			away, stays = m, away
		}
	}
	if err := away.engine.AwaitApplied(testContext(t), lead.engine.AppliedIndex()); err != nil {
		t.Fatal(err)
	}
	away.close() // it does not hear of its removal
	if err := lead.engine.RemoveMember(testContext(t), away.cfg.Name); err != nil {
		t.Fatal(err)
	}
	term := lead.engine.raft.CurrentTerm()
	heard := away.listens("was removed from its cluster")
	if err := away.tryStart(); err != nil {
		t.Fatal(err)
	}
	hears(t, heard, away.cfg.Name, away.cfg.Dir, "empty data directory")
	refusesReads(t, away)
	if _, err := away.engine.streams.Dial(raft.ServerAddress(lead.cfg.Advertise), 5*time.Second); err == nil || !strings.Contains(err.Error(), "was removed from the cluster") {
		t.Errorf("a stream from a removed member: %v", err)
	}
	if _, err := lead.engine.JoinMember(testContext(t), away.cfg.Advertise); controlplane.CodeOf(err) != controlplane.CodePrecondition || !strings.Contains(err.Error(), "was removed from the cluster") {
		t.Errorf("a removed member was to be taken in: %v", err)
	}
	// It has called elections since, unless it was refused before each.
	for range 5 {
		pause(testContext(t), away.cfg.Timing.Heartbeat)
		add(t, []*member{lead, stays}, "")
	}
	if now := lead.engine.raft.CurrentTerm(); now != term || lead.engine.leader.serving() == nil {
		t.Errorf("the term went from %d to %d while a removed member ran", term, now)
	}
	// With an empty directory it is another member.
	away.close()
	away.cfg.Dir, away.cfg.Join, away.cfg.BootstrapExpect = t.TempDir(), []string{lead.cfg.Advertise}, 0
	if err := away.tryStart(); err != nil {
		t.Fatal(err)
	}
	settles(t, away)
	sameContent(t, members)
}

func TestAMemberThatIsRemovedWhileItRunsSaysSo(t *testing.T) {
	members := make([]*member, 3)
	var all []string
	heard := map[*member]<-chan string{}
	for i := range members {
		m := newMember(t, []string{"m1", "m2", "m3"}[i])
		members[i], heard[m] = m, m.listens("was removed from its cluster")
		all = append(all, m.cfg.Advertise)
	}
	for _, m := range members {
		m.cfg.Join, m.cfg.BootstrapExpect = all, 3
		m.start()
	}
	add(t, members, "a")
	first := leader(t, members)
	if err := first.engine.RemoveMember(testContext(t), first.cfg.Name); err != nil { // the leader itself
		t.Fatal(err)
	}
	hears(t, heard[first], first.cfg.Name)
	refusesReads(t, first)
	var rest []*member
	for _, m := range members {
		if m != first {
			rest = append(rest, m)
		}
	}
	add(t, rest, "b")
	lead, other := leader(t, rest), follower(t, rest)
	if err := lead.engine.RemoveMember(testContext(t), other.cfg.Name); err != nil {
		t.Fatal(err)
	}
	hears(t, heard[other], other.cfg.Name)
	add(t, []*member{lead}, "c")
	if err := lead.engine.RemoveMember(testContext(t), lead.cfg.Name); controlplane.CodeOf(err) != controlplane.CodePrecondition {
		t.Errorf("the removal of the only voter: %v", err)
	}
}

func TestAChangeThatWouldLoseTheMajorityIsRefused(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	lead, dead := leader(t, members), follower(t, members)
	dead.close()
	for _, m := range members {
		if m == dead {
			continue
		}
		if err := lead.engine.RemoveMember(testContext(t), m.cfg.Name); controlplane.CodeOf(err) != controlplane.CodePrecondition || !strings.Contains(err.Error(), "start "+dead.cfg.Name) {
			t.Errorf("the removal of %s, while %s is dead: %v", m.cfg.Name, dead.cfg.Name, err)
		}
	}
	add(t, []*member{lead}, "b")
	if err := lead.engine.RemoveMember(testContext(t), dead.cfg.Name); err != nil {
		t.Errorf("the removal of the dead one: %v", err)
	}
}

// A removal that failed half-way has noted that the member is out, which is in the
// configuration all the same: it goes on as a member, and the next try finishes.
func TestARemovalThatFailedHalfWay(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	lead, m := leader(t, members), follower(t, members)
	id := m.engine.self.serverID()
	if _, _, err := lead.engine.commit(testContext(t), envelope{kind: kindRemove, term: lead.engine.leader.serving().term, body: []byte(id)}); err != nil {
		t.Fatal(err)
	}
	m.close()
	if err := m.tryStart(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.engine.peers.info(testContext(t), lead.cfg.Advertise); err != nil {
		t.Errorf("a member is refused: %v", err)
	}
	add(t, members, "b")
	sameContent(t, members)
	if lead.engine.fsm.removedAt(id) == 0 {
		t.Error("the removal is not noted")
	}
	if err := lead.engine.RemoveMember(testContext(t), m.cfg.Name); err != nil {
		t.Error(err)
	}
	if lead.engine.isMember(id) {
		t.Error("it is a member yet")
	}
}

func TestAMemberThatWaitsIsTakenIn(t *testing.T) {
	lead := newMember(t, "m1").start()
	add(t, []*member{lead}, "a")
	waits := newMember(t, "m2")
	waits.cfg.Join = []string{newMember(t, "nobody").cfg.Advertise}
	waits.start()
	got, err := lead.engine.JoinMember(testContext(t), waits.cfg.Advertise)
	if err != nil || got.Name != "m2" || got.Address != waits.cfg.Advertise {
		t.Fatalf("%+v, %v", got, err)
	}
	settles(t, waits)
	sameContent(t, []*member{lead, waits})
	if again, err := lead.engine.JoinMember(testContext(t), waits.cfg.Advertise); err != nil || again.Role != controlplane.MemberFollower {
		t.Errorf("a repeat: %+v, %v", again, err)
	}
	other := newMember(t, "m3").start()
	add(t, []*member{other}, "a")
	for address, want := range map[string]string{
		other.cfg.Advertise:                  "part of another cluster",
		newMember(t, "nobody").cfg.Advertise: "no member answers",
		"nowhere":                            "give host:port",
		":8080":                              "give host:port",
	} {
		if _, err := lead.engine.JoinMember(testContext(t), address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the join of %s: %v, want %q", address, err, want)
		}
	}
}

// Who claims to be another must not be believed: only the cluster's own state says
// who was removed.
func TestOnlyARemovalIsHeard(t *testing.T) {
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a")
	for _, resp := range []*http.Response{
		{StatusCode: http.StatusGone},
		{StatusCode: http.StatusConflict, Header: http.Header{headerRemoved: {"1"}}},
	} {
		m.engine.hearRefusal(resp, []byte(`{"error":"no"}`))
	}
	if err := m.engine.AwaitLeader(context.Background()); err != nil {
		t.Error(err)
	}
	if err := m.engine.removal.err(); err != nil {
		t.Error(err)
	}
}
