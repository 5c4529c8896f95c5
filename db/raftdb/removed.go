package raftdb

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
)

// A member that was removed may have been away meanwhile: it takes itself for a
// voter, or does not know why it hears no leader. The others know it by its id, which
// the state keeps, and tell it so instead of talking Raft with it.

// askAgain is how often a member that knows of no leader asks others whether it was
// removed.
const askAgain = 2 * time.Second

// ReasonRemoved is the reason of what a member answers that was removed.
const ReasonRemoved = "MEMBER_REMOVED"

// removal is what a member has heard of its own removal.
type removal struct {
	mu  sync.Mutex
	why string
}

// err is what this member answers once it knows that it was removed; nil before.
func (r *removal) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why == "" {
		return nil
	}
	return &controlplane.Error{Code: controlplane.CodeUnavailable, Reason: ReasonRemoved, Message: r.why}
}

// hear takes note of a removal; true the first time.
func (r *removal) hear(why string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.why == ""
	r.why = why
	return first
}

func removedText(id raft.ServerID, index uint64) string {
	return fmt.Sprintf("member %s (%s) was removed from the cluster at log index %d: stop it; to take it in anew, start it with an empty data directory and --join", nameOf(id), id, index)
}

// removedFrom says why the sender of a request is refused: it was removed. One that
// is in the configuration all the same was not, as its removal failed half-way.
func (e *Engine) removedFrom(r *http.Request) string {
	id := raft.ServerID(r.Header.Get(headerFrom))
	if at := e.fsm.removedAt(id); at > 0 && !e.isMember(id) {
		return removedText(id, at)
	}
	return ""
}

func (e *Engine) isMember(id raft.ServerID) bool {
	return slices.ContainsFunc(e.servers(), func(s raft.Server) bool { return s.ID == id })
}

// hearRefusal takes note of an answer that says that this member was removed.
func (e *Engine) hearRefusal(resp *http.Response, text []byte) {
	if resp.StatusCode != http.StatusGone || resp.Header.Get(headerRemoved) == "" {
		return
	}
	if why := refusal(resp.StatusCode, text); e.removal.hear(why) {
		e.log.Error("this member was removed from its cluster: it serves nothing but stale reads any more", "cluster_id", e.fsm.cluster(), "data_dir", e.cfg.Dir, "reason", why)
		e.leader.wake() // those who wait for a leader
	}
}

// watchRemoval asks others, while this member knows of no leader, whether it was
// removed: one that was hears nothing by itself.
func (e *Engine) watchRemoval(ctx context.Context) {
	for e.removal.err() == nil && pause(ctx, askAgain) {
		if _, _, ok := e.Leader(); ok {
			continue
		}
		var others []string
		for _, s := range e.servers() {
			if s.ID != e.self.serverID() {
				others = append(others, string(s.Address))
			}
		}
		e.ask(ctx, others) // a refusal is heard on the way
	}
}

// expel takes a server out. That it is out is noted first: if the rest fails, it is a
// member as before, and whoever takes it out again finishes that.
func (e *Engine) expel(ctx context.Context, id raft.ServerID) error {
	s := e.leader.serving()
	if s == nil {
		return e.notLeading()
	}
	out, _, err := e.commit(ctx, envelope{kind: kindRemove, term: s.term, body: []byte(id)})
	if err != nil {
		return err
	}
	if out.err != nil {
		return e.notLeading()
	}
	if err := e.change(ctx, e.raft.RemoveServer(id, 0, changeTimeout)); err != nil {
		return err
	}
	e.log.Info("membership changed", "removed", id)
	return nil
}
