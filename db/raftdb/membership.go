package raftdb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// retryJoin is how often forming and joining are tried.
const retryJoin = 200 * time.Millisecond

// runMembership forms or joins a cluster if this member is in none, and then sees
// to it that the cluster has it as a voter at its present address.
func (e *Engine) runMembership(ctx context.Context) {
	e.warnOfOthers(ctx)
	why := newReason(e)
	if voters := e.voters(); len(voters) == 1 && voters[0].ID == e.self.serverID() {
		e.callElection()
	}
	for len(e.servers()) == 0 {
		err := e.form(ctx)
		why.say("waiting to be part of a cluster", err)
		if err == nil {
			break
		}
		if !pause(ctx, retryJoin) {
			return
		}
	}
	for !e.settled() && e.removal.err() == nil {
		why.say("waiting to be a voter of the cluster", e.join(ctx))
		if !pause(ctx, retryJoin) {
			return
		}
	}
	e.watchRemoval(ctx)
}

// warnOfOthers says so if a member that has state is told to join another cluster than
// its own: it ignores --join then, as after every restart, and would be taken for a
// member of the one that it was to join.
func (e *Engine) warnOfOthers(ctx context.Context) {
	if len(e.servers()) == 0 || e.fsm.cluster() == "" {
		return
	}
	for _, a := range e.ask(ctx, e.cfg.Join) {
		if errors.Is(a.err, errOtherCluster) {
			e.log.Error("this member keeps to the cluster in its data directory, which is not that of --join: give an empty data directory to join that one, or correct --join",
				"cluster_id", e.fsm.cluster(), "data_dir", e.cfg.Dir, "join", a.address, "reason", a.err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// reason logs why something takes long: each reason once, and not at once, since
// members that start together miss each other at first.
type reason struct {
	e     *Engine
	since time.Time
	last  string
}

func newReason(e *Engine) *reason { return &reason{e: e, since: time.Now()} }

func (r *reason) say(what string, err error) {
	if err == nil || err.Error() == r.last || time.Since(r.since) < 2*time.Second {
		return
	}
	r.last = err.Error()
	r.e.log.Warn(what, "reason", err)
}

// form makes a new cluster, alone or as the one of the expected members whose name
// comes first, or asks an existing one to be taken in. It returns nil once this
// member has a configuration or the cluster is about to give it one.
func (e *Engine) form(ctx context.Context) error {
	if len(e.cfg.Join) == 0 {
		return e.bootstrap([]memberInfo{e.info()})
	}
	found, formed, err := e.look(ctx)
	if formed {
		return e.join(ctx)
	}
	if e.cfg.BootstrapExpect == 0 {
		return errors.Join(errors.New("none of the addresses in --join is a member of a running cluster (to form a new one give --bootstrap-expect)"), err)
	}
	if len(found) != e.cfg.BootstrapExpect {
		return errors.Join(fmt.Errorf("%d of the %d expected members are there", len(found), e.cfg.BootstrapExpect), err)
	}
	for i, m := range found {
		if m.Expect != e.cfg.BootstrapExpect {
			return fmt.Errorf("member %s has --bootstrap-expect %d, this one %d: give all the same", m.Name, m.Expect, e.cfg.BootstrapExpect)
		}
		if i > 0 && found[i-1].Name == m.Name {
			return fmt.Errorf("two members are named %s (at %s and %s): give each its own --name", m.Name, found[i-1].Address, m.Address)
		}
	}
	if found[0].ID != string(e.self.serverID()) {
		return fmt.Errorf("member %s is to form the cluster", found[0].Name)
	}
	return e.bootstrap(found)
}

// look asks the addresses in Join who is there: the distinct members by name, this
// one among them, and whether one is part of a cluster.
func (e *Engine) look(ctx context.Context) (found []memberInfo, formed bool, err error) {
	found = []memberInfo{e.info()}
	for _, m := range e.ask(ctx, e.cfg.Join) {
		if m.err != nil {
			err = errors.Join(err, m.err)
			continue
		}
		if !slices.ContainsFunc(found, func(k memberInfo) bool { return k.ID == m.info.ID }) {
			found = append(found, m.info)
			formed = formed || m.info.Formed
		}
	}
	slices.SortFunc(found, func(a, b memberInfo) int {
		if a.Name != b.Name && a.Name < b.Name || a.Name == b.Name && a.ID < b.ID {
			return -1
		}
		return 1
	})
	return found, formed, err
}

type asked struct {
	address string
	info    memberInfo
	err     error
}

// ask asks all addresses at once who is there.
func (e *Engine) ask(ctx context.Context, addresses []string) []asked {
	out := make([]asked, len(addresses))
	var wg sync.WaitGroup
	for i, address := range addresses {
		wg.Go(func() {
			info, err := e.peers.info(ctx, address)
			out[i] = asked{address: address, info: info, err: err}
		})
	}
	wg.Wait()
	return out
}

func (e *Engine) bootstrap(members []memberInfo) error {
	var c raft.Configuration
	for _, m := range members {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.Address)})
	}
	err := e.raft.BootstrapCluster(c).Error()
	if errors.Is(err, raft.ErrCantBootstrap) { // it was taken in meanwhile
		return nil
	}
	if errors.Is(err, raft.ErrRaftShutdown) { // this member is being closed, which is no failure of its
		return err
	}
	if err != nil { // half of it may be stored, which the next start undoes
		err = fmt.Errorf("form the cluster: %w", err)
		e.fail(err)
		return err
	}
	e.log.Info("formed a cluster", "members", len(members))
	e.callElection()
	return nil
}

// callElection makes a member that has nobody to wait for stand for election now,
// not when it would have missed a leader. Raft looks at its timer when the timeout
// is made shorter, by however little.
func (e *Engine) callElection() {
	c := e.raft.ReloadableConfig()
	c.HeartbeatTimeout -= time.Millisecond
	c.ElectionTimeout -= time.Millisecond
	if err := e.raft.ReloadConfig(c); err != nil {
		e.log.Debug("the first election waits for its timeout", "error", err)
	}
}

// settled reports whether the cluster has this member as a voter at its address.
func (e *Engine) settled() bool {
	return slices.ContainsFunc(e.servers(), func(s raft.Server) bool {
		return s.ID == e.self.serverID() && s.Suffrage == raft.Voter && string(s.Address) == e.cfg.Advertise
	})
}

// join asks the cluster to take this member in, or to take note of its address.
func (e *Engine) join(ctx context.Context) error {
	var errs []error
	for _, address := range e.whomToAsk() {
		err := e.joinAt(ctx, address)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (e *Engine) whomToAsk() []string {
	var list []string
	if address, _, ok := e.Leader(); ok {
		list = append(list, address)
	}
	for _, s := range e.servers() {
		list = append(list, string(s.Address))
	}
	list = append(list, e.cfg.Join...)
	slices.Sort(list[min(1, len(list)):])
	return slices.Compact(list)
}

func (e *Engine) joinAt(ctx context.Context, address string) error {
	req := joinRequest{ID: string(e.self.serverID()), Address: e.cfg.Advertise, AppliedIndex: e.AppliedIndex()}
	for range 2 { // once more at the leader that the first one names
		if address == e.cfg.Advertise {
			_, err := e.admit(ctx, req)
			return err
		}
		callCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
		var a joinAnswer
		err := e.peers.call(callCtx, address, http.MethodPost, "/raft/join", req, &a)
		cancel()
		if err != nil {
			return err
		}
		if a.Leader == "" {
			return nil
		}
		address = a.Leader
	}
	return fmt.Errorf("no leader took the join")
}

// caughtUp is how many entries behind a member may be that is given a vote.
const caughtUp = 256

// changeTimeout bounds one change of the configuration.
const changeTimeout = 5 * time.Second

// admit takes a member in: as a non-voter at first, as a voter when it asks again
// and has caught up. It can be repeated.
func (e *Engine) admit(ctx context.Context, req joinRequest) (joinAnswer, error) {
	id := raft.ServerID(req.ID)
	name := nameOf(id)
	if !ValidName(name) || name == req.ID {
		return joinAnswer{}, fmt.Errorf("join: %q is no member's id", req.ID)
	}
	if e.leader.serving() == nil {
		address, self, ok := e.Leader()
		if !ok || self {
			return joinAnswer{}, errors.New("join: there is no leader yet")
		}
		return joinAnswer{Leader: address}, nil
	}
	e.admitMu.Lock()
	defer e.admitMu.Unlock()
	there, err := e.peers.info(ctx, req.Address)
	if err != nil || there.ID != req.ID {
		return joinAnswer{}, fmt.Errorf("join: member %s cannot be reached at %s from here (%v): check its --advertise", name, req.Address, errors.Join(err, idMismatch(there, req)))
	}
	if at := e.fsm.removedAt(id); at > 0 && !e.isMember(id) {
		return joinAnswer{}, errors.New("join: " + removedText(id, at))
	}
	if there.Schema < e.schemaVersion() {
		return joinAnswer{}, fmt.Errorf("join: the state is at schema version %d and member %s (%s) knows %d: upgrade it, then start it again", e.schemaVersion(), name, there.Version, there.Schema)
	}
	own, err := e.clear(ctx, id, name, req.Address)
	if err != nil {
		return joinAnswer{}, err
	}
	return e.enroll(own, req)
}

func idMismatch(there memberInfo, req joinRequest) error {
	if there.ID == "" || there.ID == req.ID {
		return nil
	}
	return fmt.Errorf("member %s answers there", there.Name)
}

// clear removes from the configuration who stands in the way of a member: an
// earlier incarnation of it, and whoever had its address. It returns the member's
// own entry if there is one.
func (e *Engine) clear(ctx context.Context, id raft.ServerID, name, address string) (own *raft.Server, err error) {
	for _, s := range e.servers() {
		if s.ID == id {
			own = &s
			continue
		}
		if nameOf(s.ID) == name && string(s.Address) != address {
			if there, err := e.peers.info(ctx, string(s.Address)); err == nil && there.ID == string(s.ID) {
				return nil, fmt.Errorf("join: a member named %s is alive at %s: give this one another --name", name, s.Address)
			}
		} else if string(s.Address) != address {
			continue
		}
		e.log.Warn("removing a member whose place is taken", "removed", s.ID, "by", id, "address", address)
		if err := e.expel(ctx, s.ID); err != nil {
			return nil, fmt.Errorf("join: remove the former member %s: %w", s.ID, err)
		}
	}
	return own, nil
}

func (e *Engine) enroll(own *raft.Server, req joinRequest) (joinAnswer, error) {
	id, address := raft.ServerID(req.ID), raft.ServerAddress(req.Address)
	var change raft.IndexFuture
	switch {
	case own != nil && own.Suffrage == raft.Voter && own.Address == address:
		return joinAnswer{Voter: true}, nil
	case own == nil:
		change = e.raft.AddNonvoter(id, address, 0, changeTimeout)
	case own.Suffrage == raft.Voter || req.AppliedIndex+caughtUp >= e.AppliedIndex():
		change = e.raft.AddVoter(id, address, 0, changeTimeout)
	default:
		return joinAnswer{}, nil
	}
	if err := change.Error(); err != nil {
		return joinAnswer{}, fmt.Errorf("join: %w", err)
	}
	e.log.Info("membership changed", "member", req.ID, "address", req.Address, "voter", own != nil)
	return joinAnswer{Voter: own != nil}, nil
}
