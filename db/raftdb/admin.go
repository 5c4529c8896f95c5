package raftdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
)

// transferTimeout bounds a transfer of leadership: hashicorp/raft's can hang
// (issue 696 there), so nothing may depend on its end.
const transferTimeout = 10 * time.Second

// JoinMember takes in the member that runs at an address and is part of no cluster:
// as a non-voter, which asks for its vote by itself once it has caught up. It works
// on the leader only.
func (e *Engine) JoinMember(ctx context.Context, address string) (controlplane.Member, error) {
	if e.leader.serving() == nil {
		return controlplane.Member{}, e.notLeading()
	}
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return controlplane.Member{}, controlplane.FieldErrorf("address", "%.80q: give host:port at which the members reach the one that joins", address)
	}
	there, err := e.peers.info(ctx, address)
	switch {
	case errors.Is(err, errOtherCluster):
		return controlplane.Member{}, controlplane.Errorf(controlplane.CodePrecondition,
			"the member at %s is part of another cluster: stop it, and start it with an empty data directory and --join", address)
	case err != nil:
		return controlplane.Member{}, controlplane.Errorf(controlplane.CodePrecondition,
			"no member answers at %s (%v): start it there by 'raft-node serve --join %s', which also joins it", address, inner(err), e.cfg.Advertise)
	case there.Formed && !e.isMember(raft.ServerID(there.ID)) && there.ClusterID == "":
		return controlplane.Member{}, controlplane.Errorf(controlplane.CodePrecondition, "the member at %s is forming a cluster of its own", address)
	}
	if !e.isMember(raft.ServerID(there.ID)) {
		if _, err := e.admit(ctx, joinRequest{ID: there.ID, Address: there.Address, AppliedIndex: there.AppliedIndex}); err != nil {
			return controlplane.Member{}, controlplane.Errorf(controlplane.CodePrecondition, "%v", err)
		}
	}
	s, err := e.member(there.Name)
	_, leader := e.raft.LeaderWithID()
	return controlplane.Member{Name: there.Name, Address: string(s.Address), Role: roleOf(s, leader), AppliedIndex: there.AppliedIndex, Version: there.Version}, err
}

// inner is an error of a request without the request.
func inner(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// RemoveMember takes a member out of the cluster, for good. It works on the leader
// only, which may name itself.
func (e *Engine) RemoveMember(ctx context.Context, name string) error {
	s, err := e.member(name)
	if err != nil {
		return err
	}
	var rest []raft.Server
	for _, v := range e.voters() {
		if v.ID != s.ID {
			rest = append(rest, v)
		}
	}
	if len(rest) == 0 {
		return controlplane.Errorf(controlplane.CodePrecondition, "%s is the only voter: without it there is no cluster; stop it instead", name)
	}
	if err := e.checkMajority(ctx, rest); err != nil {
		return err
	}
	return e.expel(ctx, s.ID)
}

// PromoteMember gives a member without a vote one. A member that joins gets its
// vote by itself once it has caught up.
func (e *Engine) PromoteMember(ctx context.Context, name string) error {
	s, err := e.member(name)
	if err != nil || s.Suffrage == raft.Voter {
		return err
	}
	if there, err := e.peers.info(ctx, string(s.Address)); err != nil || there.ID != string(s.ID) {
		return controlplane.Errorf(controlplane.CodePrecondition, "%s does not answer at %s, so that its vote could only be missed: start it, or remove it", name, s.Address)
	}
	return e.change(ctx, e.raft.AddVoter(s.ID, s.Address, 0, changeTimeout))
}

// checkMajority refuses a change after which those of the voters that answer would be
// no majority: nothing could be committed any more, the way back included.
func (e *Engine) checkMajority(ctx context.Context, voters []raft.Server) error {
	alive := make([]bool, len(voters))
	var wg sync.WaitGroup
	for i, v := range voters {
		if alive[i] = v.ID == e.self.serverID(); !alive[i] {
			wg.Go(func() {
				there, err := e.peers.info(ctx, string(v.Address))
				alive[i] = err == nil && there.ID == string(v.ID)
			})
		}
	}
	wg.Wait()
	var dead []string
	for i, v := range voters {
		if !alive[i] {
			dead = append(dead, nameOf(v.ID))
		}
	}
	if answer := len(voters) - len(dead); answer <= len(voters)/2 {
		return controlplane.Errorf(controlplane.CodePrecondition, "after this %d of %d voters would answer, which is no majority: start %s first, or remove it first",
			answer, len(voters), strings.Join(dead, ", "))
	}
	return nil
}

// TransferLeadership lets a member lead; the one that is the furthest if none is
// named. It returns the name of the leader after that, "" if that is still open.
func (e *Engine) TransferLeadership(ctx context.Context, name string) (leader string, err error) {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	if e.leader.serving() == nil {
		return "", e.notLeading()
	}
	transfer, err := e.transferTo(name)
	if err != nil {
		return "", err
	}
	if transfer != nil {
		select {
		case err := <-wait(func() error { return transfer().Error() }):
			if err != nil {
				return "", &controlplane.Error{Code: controlplane.CodeUnavailable, Reason: "TRANSFER_FAILED",
					Message: fmt.Sprintf("leadership stays where it is (%v): try again", err)}
			}
		case <-ctx.Done():
			return "", controlplane.Errorf(controlplane.CodeDeadline, "the transfer has not ended in the time allowed, %s at most: look who leads, and try again", transferTimeout)
		}
	}
	if e.AwaitLeader(ctx) != nil {
		return "", nil
	}
	_, id := e.raft.LeaderWithID()
	return nameOf(id), nil
}

// transferTo returns what begins a transfer, nil if the member leads already.
func (e *Engine) transferTo(name string) (func() raft.Future, error) {
	if name == "" {
		if len(e.voters()) < 2 {
			return nil, controlplane.Errorf(controlplane.CodePrecondition, "there is no other voter that could lead: let members join first")
		}
		return e.raft.LeadershipTransfer, nil
	}
	s, err := e.member(name)
	switch {
	case err != nil:
		return nil, err
	case s.ID == e.self.serverID():
		return nil, nil
	case s.Suffrage != raft.Voter:
		return nil, controlplane.Errorf(controlplane.CodePrecondition, "%s has no vote, so it cannot lead: promote it first", name)
	}
	return func() raft.Future { return e.raft.LeadershipTransferToServer(s.ID, s.Address) }, nil
}

// SnapshotNow makes this member checkpoint its database and drop old log. It returns
// the index of its newest snapshot.
func (e *Engine) SnapshotNow(ctx context.Context) (index uint64, err error) {
	select {
	case err := <-wait(e.snapshot):
		if err != nil {
			return 0, &controlplane.Error{Code: controlplane.CodeUnavailable, Reason: "SNAPSHOT_FAILED", Message: fmt.Sprintf("no snapshot now (%v): try again", err)}
		}
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	r, err := readRecord(e.fsm.generation())
	if err != nil || r == nil {
		return 0, errors.Join(err, errors.New("the snapshot left no record"))
	}
	return r.Index, nil
}

// member finds a server by name, on the leader.
func (e *Engine) member(name string) (raft.Server, error) {
	if e.leader.serving() == nil {
		return raft.Server{}, e.notLeading()
	}
	for _, s := range e.servers() {
		if nameOf(s.ID) == name {
			return s, nil
		}
	}
	return raft.Server{}, &controlplane.Error{Code: controlplane.CodeNotFound, Field: "name",
		Message: "there is no member " + name + ": see who there is by 'raft-node cluster status'"}
}

func (e *Engine) change(ctx context.Context, f raft.IndexFuture) error {
	select {
	case err := <-wait(f.Error):
		if err == nil {
			return nil
		}
		return e.commitError(err)
	case <-ctx.Done():
		return unknownOutcome()
	}
}
