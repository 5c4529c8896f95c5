package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane/db/raftdb"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

func (m *member) clusterClient() controlplanev1connect.ClusterServiceClient {
	return controlplanev1connect.NewClusterServiceClient(h2(m.t), m.url())
}

func TestTheClusterIsChangedThroughAnyMember(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	leader.submit("a")
	ctx, at := testContext(t), followers[0].clusterClient()

	v, err := at.Verify(ctx, connect.NewRequest(&v1.VerifyRequest{}))
	if err != nil || !v.Msg.GetEqual() || len(v.Msg.GetMembers()) != 3 || v.Msg.GetMembers()[2].GetTables()["tasks"] == "" {
		t.Errorf("verify: %v, %v", v, err)
	}
	for _, m := range members {
		s, err := at.Snapshot(ctx, connect.NewRequest(&v1.SnapshotRequest{Name: m.cfg.Name}))
		if err != nil || s.Msg.GetName() != m.cfg.Name || s.Msg.GetIndex() == 0 {
			t.Errorf("snapshot of %s: %v, %v", m.cfg.Name, s, err)
		}
	}
	if s, err := at.Snapshot(ctx, connect.NewRequest(&v1.SnapshotRequest{})); err != nil || s.Msg.GetName() != followers[0].cfg.Name {
		t.Errorf("snapshot of the member that is asked: %v, %v", s, err)
	}
	l, err := at.TransferLeadership(ctx, connect.NewRequest(&v1.TransferLeadershipRequest{Name: followers[1].cfg.Name}))
	if err != nil || l.Msg.GetLeader() != followers[1].cfg.Name {
		t.Fatalf("transfer to %s: %v, %v", followers[1].cfg.Name, l, err)
	}
	if _, err := at.RemoveMember(ctx, connect.NewRequest(&v1.RemoveMemberRequest{Name: leader.cfg.Name})); err != nil {
		t.Fatalf("remove %s: %v", leader.cfg.Name, err)
	}
	c, err := at.GetCluster(ctx, connect.NewRequest(&v1.GetClusterRequest{}))
	if err != nil || len(c.Msg.GetMembers()) != 2 {
		t.Errorf("after the removal: %v, %v", c, err)
	}
	// One that waits to be let in is.
	waits := newMember(t, "m4")
	waits.cfg.Join = []string{"127.0.0.1:1"}
	waits.start()
	j, err := at.JoinMember(ctx, connect.NewRequest(&v1.JoinMemberRequest{Address: waits.cfg.Advertise}))
	if err != nil || j.Msg.GetMember().GetName() != "m4" {
		t.Fatalf("join: %v, %v", j, err)
	}
	if _, err := at.PromoteMember(ctx, connect.NewRequest(&v1.PromoteMemberRequest{Name: "m4"})); err != nil {
		t.Errorf("promote: %v", err)
	}
	roles(t, []*member{followers[0], followers[1], waits})
}

// A removed member says what happened to it, to callers and to probes, and at once.
func TestARemovedMemberAnswersThatItWasRemoved(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	gone := followers[0]
	if _, err := leader.clusterClient().RemoveMember(testContext(t), connect.NewRequest(&v1.RemoveMemberRequest{Name: gone.cfg.Name})); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	for {
		_, err := gone.taskClient().SubmitTask(ctx, connect.NewRequest(&v1.SubmitTaskRequest{Task: echo("x")}))
		if err != nil && strings.Contains(err.Error(), "was removed from the cluster") {
			break // it has noticed that it hears no leader, and has asked the others
		}
		if err != nil && connect.CodeOf(err) != connect.CodeUnavailable {
			t.Fatalf("a write at a removed member: %v", err)
		}
	}
	begun := time.Now()
	status, _, body := gone.post("TaskService/GetTask", `{"id":"a"}`)
	if text, _ := body["message"].(string); status != http.StatusServiceUnavailable || !strings.Contains(text, "empty data directory") {
		t.Errorf("a read at a removed member: %d %v", status, body)
	}
	if took := time.Since(begun); took > defaultWait {
		t.Errorf("it took %s to say so", took)
	}
	if err := gone.service.health.readiness(); err == nil || !strings.Contains(err.Error(), "was removed from the cluster") {
		t.Errorf("readiness: %v", err)
	}
}

// receive takes a whole backup.
func receive(t *testing.T, m *member, req *v1.BackupRequest) (*v1.BackupInfo, []byte) {
	t.Helper()
	stream, err := m.clusterClient().Backup(testContext(t), connect.NewRequest(req))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var info *v1.BackupInfo
	var file bytes.Buffer
	for stream.Receive() {
		if info == nil {
			info = stream.Msg().GetInfo()
		} else if stream.Msg().GetInfo() != nil {
			t.Error("a second description")
		}
		file.Write(stream.Msg().GetData())
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	return info, file.Bytes()
}

func TestABackupIsWhatItSays(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	for _, id := range []string{"a", "b", "c"} {
		leader.submit(id)
	}
	before := leader.engine.AppliedIndex()
	for _, m := range append(followers, leader) {
		info, file := receive(t, m, &v1.BackupRequest{})
		sum := sha256.Sum256(file)
		if info.GetMember() != m.cfg.Name || info.GetSizeBytes() != int64(len(file)) || info.GetSha256() != hex.EncodeToString(sum[:]) || info.GetIndex() < before {
			t.Errorf("%s: %d bytes with %x, described as %v", m.cfg.Name, len(file), sum, info)
		}
		path := filepath.Join(t.TempDir(), "backup.db")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		if state, err := raftdb.CheckBackup(path); err != nil || state.Tasks != 3 || state.Index != info.GetIndex() || state.ClusterID != info.GetClusterId() {
			t.Errorf("%s: %+v, %v", m.cfg.Name, state, err)
		}
	}
	// Without a leader only what is said to be stale is given.
	for _, m := range members {
		if m != followers[0] {
			m.close()
		}
	}
	if info, _ := receive(t, followers[0], &v1.BackupRequest{Consistency: v1.Consistency_CONSISTENCY_STALE}); info.GetIndex() < before {
		t.Errorf("a stale backup: %v", info)
	}
	stream, err := followers[0].clusterClient().Backup(context.Background(), connect.NewRequest(&v1.BackupRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeUnavailable {
		t.Errorf("a backup without a leader: %v", stream.Err())
	}
}

// A reader that takes nothing must not hold up others for ever.
func TestABackupThatNobodyReadsIsCut(t *testing.T) {
	m := solo(t)
	m.service.watchTimes.cut = 3 * time.Second
	for range 16 { // more than the buffers on the way take, as it does not get smaller by gzip
		payload := make([]byte, 1<<20)
		rand.Read(payload)
		task := echo("")
		task.Work = &v1.Task_Function{Function: &v1.FunctionTask{Name: "f", Payload: payload}}
		if _, err := m.taskClient().SubmitTask(testContext(t), connect.NewRequest(&v1.SubmitTaskRequest{Task: task})); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := m.clusterClient().Backup(testContext(t), connect.NewRequest(&v1.BackupRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || stream.Msg().GetInfo() == nil {
		t.Fatal(stream.Err())
	}
	exhausted := false
	for ctx := testContext(t); ; { // until the first one is cut
		second, err := m.clusterClient().Backup(ctx, connect.NewRequest(&v1.BackupRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		received := second.Receive()
		err = second.Err()
		_ = second.Close()
		if received {
			break
		}
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Fatal(err)
		}
		exhausted = true
	}
	if !exhausted {
		t.Error("a second backup was given while the first one was under way")
	}
}
