package service

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const testToken = "0123456789abcdef0123456789abcdef"

func withToken(c *Config) { c.Token = testToken }

func TestTokenInEveryProtocol(t *testing.T) {
	m := solo(t, withToken)
	for _, c := range []struct {
		header string
		ok     bool
	}{
		{"", false},
		{"Bearer wrong", false},
		{"Basic " + testToken, false},
		{testToken, false},
		{"Bearer " + testToken + "0", false},
		{"Bearer " + testToken, true},
		{"bearer " + testToken, true},
	} {
		for name, code := range m.getNobody(t, c.header) {
			if want := map[bool]connect.Code{true: connect.CodeNotFound, false: connect.CodeUnauthenticated}[c.ok]; code != want {
				t.Errorf("%s with Authorization %q: %v, want %v", name, c.header, code, want)
			}
		}
	}
}

// getNobody asks for a task that is not there, in every protocol.
func (m *member) getNobody(t *testing.T, authorization string) map[string]connect.Code {
	t.Helper()
	ctx := testContext(t)
	out := map[string]connect.Code{}
	for name, opts := range map[string][]connect.ClientOption{
		"Connect":          nil,
		"Connect JSON":     {connect.WithProtoJSON()},
		"Connect GET":      {connect.WithHTTPGet()},
		"Connect GET JSON": {connect.WithHTTPGet(), connect.WithProtoJSON()},
		"gRPC by Connect":  {connect.WithGRPC()},
		"gRPC-Web":         {connect.WithGRPCWeb()},
		"gRPC-Web JSON":    {connect.WithGRPCWeb(), connect.WithProtoJSON()},
	} {
		req := connect.NewRequest(&v1.GetTaskRequest{Id: "nobody"})
		if authorization != "" {
			req.Header().Set("Authorization", authorization)
		}
		_, err := m.taskClient(opts...).GetTask(ctx, req)
		out[name] = connect.CodeOf(err)
	}
	conn, err := grpc.NewClient(m.cfg.Advertise, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if authorization != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
	}
	err = conn.Invoke(ctx, "/controlplane.v1.TaskService/GetTask", &v1.GetTaskRequest{Id: "nobody"}, &v1.GetTaskResponse{})
	out["grpc-go"] = connect.Code(status.Code(err))
	return out
}

func TestWatchNeedsTheToken(t *testing.T) {
	m := solo(t, withToken)
	for name, opts := range map[string][]connect.ClientOption{"Connect": nil, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()}} {
		stream, err := m.taskClient(opts...).WatchTasks(testContext(t), connect.NewRequest(&v1.WatchTasksRequest{}))
		if err == nil {
			if stream.Receive() {
				t.Errorf("%s: a message came", name)
			}
			err = stream.Err()
			_ = stream.Close()
		}
		if connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenIsAskedForBeforeTheBodyIsRead(t *testing.T) {
	m := solo(t, withToken)
	body, never := io.Pipe() // nothing is ever written to it
	defer func() { _ = never.Close() }()
	req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, m.url()+"/controlplane.v1.TaskService/SubmitTask", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := h2(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

func TestWhatTheTokenGuards(t *testing.T) {
	m := solo(t, withToken)
	for path, want := range map[string]int{
		"/": 401, "/metrics": 401, "/nothing": 401, "/livez": 200, "/readyz": 200, "/livez/": 401, "/raft/member": 401, "/raftx": 401,
	} {
		if code, _, _ := m.get(path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
		if code, _, _ := m.get(path, "Authorization", "Bearer "+testToken); code == 401 {
			t.Errorf("%s with the token: %d", path, code)
		}
	}
}

func (m *member) get(path string, header ...string) (int, http.Header, map[string]any) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(testContext(m.t), http.MethodGet, m.url()+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.roundTrip(req, header...)
}

func TestHostMustNameThisMachine(t *testing.T) {
	m := solo(t)
	port := m.cfg.Advertise[strings.LastIndexByte(m.cfg.Advertise, ':'):]
	for host, ok := range map[string]bool{
		"localhost": true, "localhost" + port: true, "LOCALHOST:1": true, "localhost.": true, "127.0.0.1": true, "127.3.2.1:80": true,
		"[::1]" + port: true, "[::1]": true,
		"evil.com": false, "evil.com" + port: false, "localhost.evil.com": false, "127.0.0.1.evil.com": false, "10.0.0.1": false, "[::2]": false,
		"127.0.0.1@evil.com": false,
	} {
		code, _, body := m.post("TaskService/ListTasks", `{}`, "Host", host)
		if ok && code != 200 || !ok && (code != 403 || body["code"] != "permission_denied") {
			t.Errorf("host %q: %d %v", host, code, body)
		}
		if code, _, _ := m.get("/livez", "Host", host); code != 200 {
			t.Errorf("/livez with host %q: %d", host, code)
		}
	}
}

func TestAuthorityMustNameThisMachine(t *testing.T) {
	m := solo(t)
	conn, err := grpc.NewClient(m.cfg.Advertise, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("evil.com"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	err = conn.Invoke(testContext(t), "/controlplane.v1.TaskService/ListTasks", &v1.ListTasksRequest{}, &v1.ListTasksResponse{})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "evil.com") {
		t.Errorf("%v", err)
	}
}

func TestHostDoesNotMatterWithAToken(t *testing.T) {
	m := solo(t, withToken)
	if code, _, body := m.post("TaskService/ListTasks", `{}`, "Host", "cluster.example.com", "Authorization", "Bearer "+testToken); code != 200 {
		t.Errorf("%d %v", code, body)
	}
}

func TestForeignPagesAreRefused(t *testing.T) {
	m := solo(t, func(c *Config) { c.CORSOrigins = []string{"https://console.example.com"} })
	for origin, ok := range map[string]bool{
		"https://console.example.com": true, "http://localhost:3000": true, "http://127.0.0.1": true,
		"https://evil.com": false, "null": false, "https://console.example.com.evil.com": false, "http://console.example.com": false,
	} {
		if code, _, body := m.post("TaskService/ListTasks", `{}`, "Origin", origin); ok != (code == 200) {
			t.Errorf("origin %s: %d %v", origin, code, body)
		}
	}
}

func TestPreflightForGRPCWeb(t *testing.T) {
	m := solo(t, withToken, func(c *Config) { c.CORSOrigins = []string{"https://console.example.com"} })
	preflight := func(origin string) http.Header {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodOptions, m.url()+"/controlplane.v1.TaskService/GetTask", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, header, _ := m.roundTrip(req, "Origin", origin, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "authorization,connect-protocol-version,connect-timeout-ms,content-type,control-plane-min-index,x-grpc-web,x-user-agent")
		return header
	}
	if h := preflight("https://console.example.com"); h.Get("Access-Control-Allow-Origin") != "https://console.example.com" ||
		!strings.Contains(h.Get("Access-Control-Allow-Headers"), "x-grpc-web") {
		t.Errorf("preflight: %v", h)
	}
	if h := preflight("https://evil.com"); h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of a stranger: %v", h)
	}
	_, h, _ := m.post("TaskService/ListTasks", `{}`, "Origin", "https://console.example.com", "Authorization", "Bearer "+testToken)
	if exposed := h.Get("Access-Control-Expose-Headers"); !strings.Contains(exposed, "Grpc-Status") || !strings.Contains(exposed, appliedHeader) {
		t.Errorf("exposed: %q", exposed)
	}
}

func TestPeersNeedTheSameToken(t *testing.T) {
	m := solo(t, withToken)
	wrong := newPeers("another token altogether", nil).get(m.cfg.Advertise)
	_, err := wrong.tasks.SubmitTask(testContext(t), connect.NewRequest(&v1.SubmitTaskRequest{Task: echo("a")}))
	if connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Fatalf("%v", err)
	}
	again, told := m.service.sort(context.Background(), err, m.cfg.Advertise, false)
	if again || connect.CodeOf(told) != connect.CodeInternal {
		t.Errorf("the caller of a member with another token is told %v", told)
	}
}

// TestRefusedWithoutItsBody sends the header of a call over HTTP/1.1 and never the
// body that it announces.
func TestRefusedWithoutItsBody(t *testing.T) {
	m := solo(t)
	var all sync.WaitGroup
	defer all.Wait()
	for name, head := range map[string]string{
		"another host":     "POST /controlplane.v1.TaskService/GetTask HTTP/1.1\r\nHost: attacker.example\r\n",
		"a page elsewhere": "POST /controlplane.v1.TaskService/GetTask HTTP/1.1\r\nHost: localhost\r\nOrigin: https://attacker.example\r\n",
		"an unknown path":  "POST /controlplane.v1.TaskService/GetTusk HTTP/1.1\r\nHost: localhost\r\n",
	} {
		for _, body := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
			all.Go(func() {
				answer, err := m.exchange(head + "Content-Type: application/json\r\n" + body + "\r\n\r\n")
				if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 40") || !strings.Contains(answer, `{"code":"`) {
					t.Errorf("%s, %s: %v\n%s", name, body, err, answer)
				}
			})
		}
	}
}

// exchange sends text as it is and reads to the end of the connection.
func (m *member) exchange(text string) (string, error) {
	conn, err := net.Dial("tcp", m.cfg.Advertise)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(testTimeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}
