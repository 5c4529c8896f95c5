package service

import (
	"bytes"
	"encoding/binary"
	"io"
	"iter"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func TestGRPCByGRPCGo(t *testing.T) {
	m := solo(t)
	conn, err := grpc.NewClient(m.cfg.Advertise, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx := testContext(t)
	var header metadata.MD
	var res v1.SubmitTaskResponse
	err = conn.Invoke(ctx, "/controlplane.v1.TaskService/SubmitTask", &v1.SubmitTaskRequest{Task: echo("a")}, &res, grpc.Header(&header))
	if err != nil || res.GetTask().GetId() != "a" || len(header.Get(appliedHeader)) != 1 {
		t.Errorf("submit: %v, %v, header %v", &res, err, header)
	}
	err = conn.Invoke(ctx, "/controlplane.v1.TaskService/SubmitTask", &v1.SubmitTaskRequest{Task: &v1.Task{}}, &res)
	if s := status.Convert(err); s.Code() != codes.InvalidArgument || len(s.Details()) != 1 || s.Details()[0].(*errdetails.BadRequest).GetFieldViolations()[0].GetField() != "task.work" {
		t.Errorf("bad submit: %v, %v", s, s.Details())
	}
	if err := conn.Invoke(ctx, "/controlplane.v1.TaskService/Nothing", &v1.SubmitTaskRequest{}, &res); status.Code(err) != codes.Unimplemented || !strings.Contains(status.Convert(err).Message(), "TaskService/Nothing") {
		t.Errorf("unknown method: %v", err)
	}
}

// TestGRPCWebAtTheWire sends what a browser sends, over HTTP/1.1.
func TestGRPCWebAtTheWire(t *testing.T) {
	m := solo(t)
	msg, err := proto.Marshal(&v1.SubmitTaskRequest{Task: echo("a")})
	if err != nil {
		t.Fatal(err)
	}
	frame := append([]byte{0, 0, 0, 0, 0}, msg...)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(msg)))
	req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, m.url()+"/controlplane.v1.TaskService/SubmitTask", bytes.NewReader(frame))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc-web+proto")
	req.Header.Set("X-Grpc-Web", "1")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || len(body) < 10 || body[0] != 0 {
		t.Fatalf("%d %q %v", res.StatusCode, body, err)
	}
	size := binary.BigEndian.Uint32(body[1:])
	var out v1.SubmitTaskResponse
	if err := proto.Unmarshal(body[5:5+size], &out); err != nil || out.GetTask().GetId() != "a" {
		t.Errorf("%v, %v", &out, err)
	}
	trailer := body[5+size:]
	if trailer[0] != 0x80 || !strings.Contains(strings.ToLower(string(trailer[5:])), "grpc-status: 0") {
		t.Errorf("trailer frame %q", trailer)
	}
}

func TestReflectionListsTheServices(t *testing.T) {
	m := solo(t)
	stream := grpcreflect.NewClient(h2(t), m.url(), connect.WithGRPC()).NewStream(testContext(t))
	names, err := stream.ListServices()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(services(), "grpc.health.v1.Health") {
		found := false
		for _, n := range names {
			found = found || string(n) == s
		}
		if !found {
			t.Errorf("%s is not listed in %v", s, names)
		}
	}
	if files, err := stream.FileContainingSymbol("controlplane.v1.TaskService"); err != nil || len(files) == 0 || files[0].GetPackage() != "controlplane.v1" {
		t.Errorf("file of TaskService: %v", err)
	}
	if _, err := stream.Close(); err != nil {
		t.Error(err)
	}
}

func TestHealthFollowsReadiness(t *testing.T) {
	lonely := newMember(t, "m1") // two others never come
	lonely.cfg.Join, lonely.cfg.BootstrapExpect = []string{lonely.cfg.Advertise, "127.0.0.1:1", "127.0.0.1:2"}, 3
	lonely.start()
	ready := solo(t)
	for m, want := range map[*member]grpchealth.Status{lonely: grpchealth.StatusNotServing, ready: grpchealth.StatusServing} {
		c := grpchealth.NewClient(h2(t), m.url(), connect.WithGRPC())
		for _, name := range []string{"", "controlplane.v1.TaskService"} {
			if res, err := c.Check(testContext(t), &grpchealth.CheckRequest{Service: name}); err != nil || res.Status != want {
				t.Errorf("%s %q: %v, %v", m.cfg.Name, name, res, err)
			}
		}
		if _, err := c.Check(testContext(t), &grpchealth.CheckRequest{Service: "x"}); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("unknown service: %v", err)
		}
		if code, _, _ := m.get("/livez"); code != 200 {
			t.Errorf("livez: %d", code)
		}
	}
	code, _, body := lonely.get("/readyz")
	if code != 503 || !strings.Contains(body["text"].(string), "]not ready: ") || !strings.Contains(body["text"].(string), "leader") {
		t.Errorf("readyz: %d %v", code, body)
	}
	if code, _, _ := ready.get("/readyz"); code != 200 {
		t.Errorf("readyz: %d", code)
	}
}

func TestMetricsCountCalls(t *testing.T) {
	m := solo(t)
	m.submit("a")
	m.post("TaskService/GetTask", `{"id":"nobody"}`)
	_, _, body := m.get("/metrics")
	lines := strings.Split(body["text"].(string), "\n")
	for _, want := range []string{
		`controlplane_rpc_calls_total{code="ok",method="SubmitTask"} 1`,
		`controlplane_rpc_calls_total{code="not_found",method="GetTask"} 1`,
		`controlplane_rpc_duration_seconds_count{method="GetTask"} 1`,
		`controlplane_is_leader 1`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s in\n%s", want, body["text"])
		}
	}
}

func TestRootSaysWhatThisIs(t *testing.T) {
	m := solo(t)
	if code, _, body := m.get("/"); code != 200 || !strings.Contains(body["text"].(string), "SubmitTask") || !strings.Contains(body["text"].(string), m.cfg.Advertise) {
		t.Errorf("%d %v", code, body)
	}
	_, _, root := m.get("/")
	for path := range contractMethods() {
		service, method, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		if !regexp.MustCompile(`(?m)^  /` + regexp.QuoteMeta(service) + `/ .*\b` + method + `\b`).MatchString(root["text"].(string)) {
			t.Errorf("it does not name %s", path)
		}
	}
	if code, _, body := m.get("/favicon.ico"); code != 404 || !strings.Contains(body["text"].(string), "/favicon.ico") {
		t.Errorf("%d %v", code, body)
	}
	if code, _, body := m.post("TaskService/Submit", `{}`); code != 404 || body["code"] != "unimplemented" || !strings.Contains(body["message"].(string), "TaskService/Submit") {
		t.Errorf("unknown method: %d %v", code, body)
	}
}

// TestAnswersToThisMachineAreNotPacked asks for gzip from this machine, by itself and as a
// proxy that stands in front of the member would.
func TestAnswersToThisMachineAreNotPacked(t *testing.T) {
	m := solo(t)
	body := `{"task": {"name": "` + strings.Repeat("x", 100) + `", "exec": {"command": ["` + strings.Repeat("x", 2*minCompressBytes) + `"]}}}`
	for proxy, want := range map[string]string{"": "", "Forwarded": "gzip", "X-Forwarded-For": "gzip", "Via": "gzip"} {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, m.url()+"/controlplane.v1.TaskService/SubmitTask", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept-Encoding", "gzip")
		if proxy != "" {
			req.Header.Set(proxy, "for=192.0.2.1")
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get("Content-Encoding"); got != want || res.StatusCode != http.StatusOK {
			t.Errorf("proxy header %q: status %d, Content-Encoding %q, want %q", proxy, res.StatusCode, got, want)
		}
		_ = res.Body.Close()
	}
}

// contractMethods are the paths of all methods of the contract, whether the member
// serves them or not.
func contractMethods() iter.Seq[string] {
	return func(yield func(string) bool) {
		protoregistry.GlobalFiles.RangeFilesByPackage("controlplane.v1", func(f protoreflect.FileDescriptor) bool {
			for i := range f.Services().Len() {
				methods := f.Services().Get(i).Methods()
				for j := range methods.Len() {
					if !yield(pathOf(methods.Get(j))) {
						return false
					}
				}
			}
			return true
		})
	}
}
