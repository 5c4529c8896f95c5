package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

// keeper is a member that gives backups.
type keeper struct {
	controlplanev1connect.UnimplementedClusterServiceHandler
	backup func(*connect.ServerStream[v1.BackupResponse]) error
}

func (k keeper) Backup(_ context.Context, _ *connect.Request[v1.BackupRequest], s *connect.ServerStream[v1.BackupResponse]) error {
	return k.backup(s)
}

func (k keeper) start(t *testing.T) string {
	mux := http.NewServeMux()
	mux.Handle(controlplanev1connect.NewClusterServiceHandler(k))
	return startHandler(t, mux)
}

// gives sends a description and then each of the pieces.
func gives(info *v1.BackupInfo, pieces ...string) func(*connect.ServerStream[v1.BackupResponse]) error {
	return func(s *connect.ServerStream[v1.BackupResponse]) error {
		if err := s.Send(&v1.BackupResponse{Info: info}); err != nil {
			return err
		}
		for _, p := range pieces {
			if err := s.Send(&v1.BackupResponse{Data: []byte(p)}); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestABackupIsCheckedAsItComes(t *testing.T) {
	sum := sha256.Sum256([]byte("onetwo"))
	info := &v1.BackupInfo{Index: 7, SizeBytes: 6, Sha256: hex.EncodeToString(sum[:])}
	whole := gives(info, "one", "two")
	for name, c := range map[string]struct {
		backup func(*connect.ServerStream[v1.BackupResponse]) error
		want   string // what the error says; none if ""
	}{
		"whole":     {whole, ""},
		"too short": {gives(info, "one"), "was damaged on the way"},
		"too long":  {gives(info, "one", "two", "x"), "was damaged on the way"},
		"changed":   {gives(info, "one", "twö"), "was damaged on the way"},
		"cut off": {func(s *connect.ServerStream[v1.BackupResponse]) error {
			_ = gives(info, "one")(s)
			panic(http.ErrAbortHandler)
		}, "was cut off after 3 of 6 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			none := keeper{backup: func(*connect.ServerStream[v1.BackupResponse]) error { return failure(connect.CodeUnavailable) }}
			cl, err := client.New([]string{nobody(t), none.start(t), keeper{backup: c.backup}.start(t)})
			if err != nil {
				t.Fatal(err)
			}
			var file bytes.Buffer
			var said *v1.BackupInfo
			got, err := cl.Backup(t.Context(), &v1.BackupRequest{}, func(i *v1.BackupInfo) { said = i }, &file)
			if said.GetIndex() != 7 || got.GetIndex() != 7 {
				t.Errorf("described as %v, %v", said, got)
			}
			if c.want == "" && (err != nil || file.String() != "onetwo") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%q, %v; want an error that says %q", file.String(), err, c.want)
			}
		})
	}
}

// Without a leader a backup is not tried for ever.
func TestABackupIsGivenUp(t *testing.T) {
	none := keeper{backup: func(*connect.ServerStream[v1.BackupResponse]) error { return failure(connect.CodeUnavailable) }}
	cl, err := client.New([]string{none.start(t)}, client.WithCallTimeout(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Backup(t.Context(), &v1.BackupRequest{}, nil, &bytes.Buffer{}); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Error(err)
	}
}

// What may have moved leadership, or removed a member, is not done a second time.
func TestWhatWouldBeDoneTwiceIsNotRepeated(t *testing.T) {
	unknown := &counting{}
	mux := http.NewServeMux()
	mux.Handle(controlplanev1connect.NewClusterServiceHandler(unknown))
	cl, err := client.New([]string{startHandler(t, mux)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.TransferLeadership(t.Context(), &v1.TransferLeadershipRequest{}); connect.CodeOf(err) != connect.CodeAborted || unknown.calls != 1 {
		t.Errorf("%v after %d calls", err, unknown.calls)
	}
	if _, err := cl.TransferLeadership(t.Context(), &v1.TransferLeadershipRequest{Name: "b"}); err != nil || unknown.calls != 3 {
		t.Errorf("to a member that is named: %v after %d calls", err, unknown.calls)
	}
}

// counting answers every second transfer.
type counting struct {
	controlplanev1connect.UnimplementedClusterServiceHandler
	calls int
}

func (c *counting) TransferLeadership(_ context.Context, r *connect.Request[v1.TransferLeadershipRequest]) (*connect.Response[v1.TransferLeadershipResponse], error) {
	if c.calls++; c.calls == 3 {
		return connect.NewResponse(&v1.TransferLeadershipResponse{Leader: r.Msg.GetName()}), nil
	}
	return nil, failure(connect.CodeAborted)
}
