package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func TestChangesOfTheCluster(t *testing.T) {
	m := (&member{
		join: func(r *v1.JoinMemberRequest) (*v1.JoinMemberResponse, error) {
			role := v1.MemberRole_MEMBER_ROLE_NON_VOTER
			if r.GetAddress() == "10.0.0.1:8080" {
				role = v1.MemberRole_MEMBER_ROLE_FOLLOWER
			}
			return &v1.JoinMemberResponse{Member: &v1.Member{Name: "d", Address: r.GetAddress(), Role: role}}, nil
		},
		remove: func(r *v1.RemoveMemberRequest) (*v1.RemoveMemberResponse, error) {
			if r.GetName() == "a" {
				return nil, refusal(connect.CodeFailedPrecondition, "a is the only voter")
			}
			return &v1.RemoveMemberResponse{}, nil
		},
		promote: func(*v1.PromoteMemberRequest) (*v1.PromoteMemberResponse, error) {
			return &v1.PromoteMemberResponse{}, nil
		},
		transfer: func(r *v1.TransferLeadershipRequest) (*v1.TransferLeadershipResponse, error) {
			return &v1.TransferLeadershipResponse{Leader: r.GetName()}, nil
		},
		snapshot: func(r *v1.SnapshotRequest) (*v1.SnapshotResponse, error) {
			return &v1.SnapshotResponse{Name: r.GetName() + "x", Index: 7}, nil
		},
	}).start(t)
	m.at(t, "cluster", "join", "10.0.0.4:8080").expect(t, 0, []string{"d at 10.0.0.4:8080 has joined; it gets its vote"}, nil)
	m.at(t, "cluster", "join", "10.0.0.1:8080").expect(t, 0, []string{"d at 10.0.0.1:8080 is a member, with a vote"}, nil)
	m.at(t, "cluster", "remove", "b").expect(t, 0, []string{"b is no member any more"}, nil)
	m.at(t, "cluster", "remove", "a").expect(t, 1, nil, []string{"raft-node: a is the only voter"})
	m.at(t, "cluster", "promote", "b").expect(t, 0, []string{"b has a vote"}, nil)
	m.at(t, "cluster", "transfer", "b").expect(t, 0, []string{"b leads"}, nil)
	m.at(t, "cluster", "transfer").expect(t, 0, []string{"the election is under way"}, nil)
	m.at(t, "cluster", "transfer", "b", "-o", "json").expect(t, 0, []string{`"leader": "b"`}, nil)
	m.at(t, "cluster", "snapshot", "b").expect(t, 0, []string{"bx has a snapshot at log index 7"}, nil)
	for _, wrong := range [][]string{{"join"}, {"remove"}, {"remove", "a", "b"}, {"transfer", "a", "b"}, {"verify", "a"}} {
		m.at(t, append([]string{"cluster"}, wrong...)...).expect(t, 2, nil, []string{"See 'raft-node cluster"})
	}
}

func TestVerifyTellsByItsExitCode(t *testing.T) {
	tables := map[string]string{"nodes": "1", "tasks": "2"}
	equal := &v1.VerifyResponse{Index: 9, Equal: true, Members: []*v1.MemberContent{{Name: "a", Tables: tables}, {Name: "b", Tables: tables}}}
	answer := equal
	m := (&member{verify: func(*v1.VerifyRequest) (*v1.VerifyResponse, error) { return answer, nil }}).start(t)
	m.at(t, "cluster", "verify").squeezed().expect(t, 0, []string{"Log index: 9\n", "\na 2 equal\n", "\nb 2 equal\n"}, nil)
	answer = &v1.VerifyResponse{Index: 9, Members: append(equal.GetMembers(), &v1.MemberContent{Name: "c", Error: "connection refused"})}
	m.at(t, "cluster", "verify").squeezed().expect(t, 1, []string{"\nb 2 equal\n", "\nc 0 no answer: connection refused\n"}, []string{"not all members have answered"})
	answer = &v1.VerifyResponse{Index: 9, Members: equal.GetMembers(), Differences: []*v1.TableDifference{{Table: "tasks", Members: []string{"b"}}}}
	m.at(t, "cluster", "verify").squeezed().expect(t, 1, []string{"\na 2 equal\n", "\nb 2 differs in tasks\n"}, []string{"do not hold the same"})
	m.at(t, "cluster", "verify", "-o", "json").expect(t, 1, []string{`"table": "tasks"`}, []string{"do not hold the same"})
}

// What a failed backup leaves is nothing, and what was there before.
func TestABackupThatFailsLeavesNothing(t *testing.T) {
	m := (&member{backup: func(_ *v1.BackupRequest, s *connect.ServerStream[v1.BackupResponse]) error {
		_ = s.Send(&v1.BackupResponse{Info: &v1.BackupInfo{SizeBytes: 3}})
		return s.Send(&v1.BackupResponse{Data: []byte("abc")})
	}}).start(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "x.db")
	left := func() string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	}
	m.at(t, "backup", file).expect(t, 1, nil, []string{"was damaged on the way"})
	if got := left(); got != "" {
		t.Errorf("left: %s", got)
	}
	if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.at(t, "backup", file).expect(t, 1, nil, []string{"is there already: give another name, or --force"})
	m.at(t, "backup", file, "--force").expect(t, 1, nil, []string{"was damaged on the way"})
	if text, err := os.ReadFile(file); string(text) != "before" || left() != "x.db" {
		t.Errorf("after a failed --force: %q, %v; %s", text, err, left())
	}
	other := filepath.Join(dir, "y.db")
	if err := os.WriteFile(other+".tmp", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.at(t, "backup", other).expect(t, 1, nil, []string{"y.db.tmp is there already"})
	if got := left(); got != "x.db y.db.tmp" {
		t.Errorf("left: %s", got)
	}
	m.at(t, "backup", filepath.Join(dir, "no", "z.db")).expect(t, 1, nil, []string{"no such file or directory"})
	m.at(t, "backup").expect(t, 2, nil, []string{"See 'raft-node backup --help'"})
}

func TestAnInterruptedBackupLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := (&member{backup: func(_ *v1.BackupRequest, s *connect.ServerStream[v1.BackupResponse]) error {
		_ = s.Send(&v1.BackupResponse{Info: &v1.BackupInfo{SizeBytes: 3}})
		cancel()
		return nil
	}}).start(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "x.db")
	cliWith(ctx, "", "--server", m.url, "backup", file).expect(t, exitInterrupted, nil, []string{"raft-node: interrupted: there is no backup, and no part of one is left at " + file + "\n"})
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// A file that comes while the backup is taken is not replaced either.
func TestABackupReplacesNothingUnasked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.db")
	f, err := newBackupFile(file, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("meanwhile"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.publish(); err == nil || !strings.Contains(err.Error(), "has come meanwhile") {
		t.Error(err)
	}
	if text, _ := os.ReadFile(file); string(text) != "meanwhile" {
		t.Errorf("it was replaced: %q", text)
	}
}
