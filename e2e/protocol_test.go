package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

// Every protocol that a client may speak, each at a follower, and the result then
// fetched from every member.
func TestProtocolsAtAFollower(t *testing.T) {
	c := newCluster(t, 3)
	c.addAgent("n1", 4)
	_, followers := c.leader()
	address := c.addresses[followers[0]]
	for name, submit := range map[string]func(t *testing.T, address, id string){
		"curl JSON":        submitByCurl,
		"grpc-go":          submitByGRPC,
		"gRPC-Web":         submitByGRPCWeb,
		"Connect Protobuf": submitByConnect,
	} {
		t.Run(name, func(t *testing.T) {
			id := strings.ReplaceAll(name, " ", "-")
			submit(t, address, id)
			if end := c.ends(id); end.Status != completed {
				t.Fatalf("the task ended as %+v", end)
			}
			for _, member := range c.names {
				if got := c.get(member, id); string(got.Result) != `{"by":"`+id+`"}` || got.ExitCode == nil || *got.ExitCode != 0 {
					t.Errorf("%s gives %+v", member, got)
				}
			}
		})
	}
}

func command(id string) []string { return []string{"echo", `{"by":"` + id + `"}`} }

func submitByCurl(t *testing.T, address, id string) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	body := `{"task":{"id":"` + id + `","name":"hi","exec":{"command":["echo","{\"by\":\"` + id + `\"}"]}}}`
	out, err := exec.Command("curl", "-sS", "-H", "content-type: application/json", "-d", body,
		"http://"+address+"/controlplane.v1.TaskService/SubmitTask").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(`"id":"`+id+`"`)) {
		t.Fatalf("curl: %v\n%s", err, out)
	}
}

func request(id string) *v1.SubmitTaskRequest {
	return &v1.SubmitTaskRequest{Task: &v1.Task{Id: id, Work: &v1.Task_Exec{Exec: &v1.ExecTask{Command: command(id)}}}}
}

func submitByGRPC(t *testing.T, address, id string) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	health, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil || health.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", health, err)
	}
	var res v1.SubmitTaskResponse
	if err := conn.Invoke(ctx, controlplanev1connect.TaskServiceSubmitTaskProcedure, request(id), &res); err != nil || res.Task.GetId() != id {
		t.Fatalf("submit: %v, %v", &res, err)
	}
	err = conn.Invoke(ctx, controlplanev1connect.TaskServiceGetTaskProcedure, &v1.GetTaskRequest{Id: "no-such-task"}, &v1.GetTaskResponse{})
	if status.Code(err) != codes.NotFound {
		t.Errorf("an unknown task: %v", err)
	}
	watchByGRPC(ctx, t, conn, id)
}

// watchByGRPC follows the task in a server stream until it has ended.
func watchByGRPC(ctx context.Context, t *testing.T, conn *grpc.ClientConn, id string) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, controlplanev1connect.TaskServiceWatchTasksProcedure)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(&v1.WatchTasksRequest{Cursor: "0", TaskIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var seen []v1.TaskStatus
	for {
		var msg v1.WatchTasksResponse
		if err := stream.RecvMsg(&msg); err != nil {
			t.Fatalf("watch after %v: %v", seen, err)
		}
		if msg.Event == nil {
			continue
		}
		seen = append(seen, msg.Event.Status)
		if msg.Event.Status == v1.TaskStatus_TASK_STATUS_COMPLETED {
			break
		}
	}
	if seen[0] != v1.TaskStatus_TASK_STATUS_PENDING {
		t.Errorf("the watch saw %v", seen)
	}
}

func submitByGRPCWeb(t *testing.T, address, id string) { postGRPCWeb(t, address, request(id)) }

// postGRPCWeb speaks the protocol byte by byte, as a browser without a library would.
func postGRPCWeb(t *testing.T, address string, submission *v1.SubmitTaskRequest) {
	t.Helper()
	msg, err := proto.Marshal(submission)
	if err != nil {
		t.Fatal(err)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg)))
	req, err := http.NewRequest(http.MethodPost, "http://"+address+controlplanev1connect.TaskServiceSubmitTaskProcedure, bytes.NewReader(append(frame, msg...)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc-web+proto")
	req.Header.Set("X-Grpc-Web", "1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || len(body) < 5 || body[0] != 0 {
		t.Fatalf("response %s: %q, %v", resp.Status, body, err)
	}
	n := binary.BigEndian.Uint32(body[1:])
	var res v1.SubmitTaskResponse
	if err := proto.Unmarshal(body[5:5+n], &res); err != nil || res.Task.GetId() != submission.Task.GetId() {
		t.Errorf("message: %v, %v", &res, err)
	}
	trailer := body[5+n:]
	if len(trailer) < 5 || trailer[0] != 0x80 || !bytes.Contains(bytes.ToLower(trailer), []byte("grpc-status: 0")) {
		t.Errorf("trailer: %q", trailer)
	}
}

func submitByConnect(t *testing.T, address, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client := controlplanev1connect.NewTaskServiceClient(http.DefaultClient, "http://"+address)
	res, err := client.SubmitTask(ctx, connect.NewRequest(request(id)))
	if err != nil || res.Msg.Task.GetId() != id {
		t.Fatalf("submit: %v, %v", res, err)
	}
	if res.Header().Get("control-plane-applied-index") == "" {
		t.Error("no applied index in the header")
	}
	_, err = client.SubmitTask(ctx, connect.NewRequest(&v1.SubmitTaskRequest{Task: &v1.Task{Id: id, Name: "another", Work: &v1.Task_Exec{Exec: &v1.ExecTask{Command: command(id)}}}}))
	if connect.CodeOf(err) != connect.CodeAlreadyExists {
		t.Errorf("another task under the id: %v", err)
	}
}
