package service

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// The fuzz tests send whatever comes to mind to the complete handler of a member
// with the real engine, without a network. Whatever it is, the answer is one of the
// contract's, comes in time, and a refusal leaves the state as it was.

// fuzzAnswerTime is when a call counts as hung. Calls set themselves
// fuzzCallTime; the rest is for machines that are shared.
const (
	fuzzCallTime   = 300 * time.Millisecond
	fuzzAnswerTime = 8 * time.Second
)

// fuzzRig is a member to send things to.
type fuzzRig struct {
	*member
	handler http.Handler
	methods []protoreflect.MethodDescriptor
}

func newFuzzRig(f *testing.F, change ...func(*Config)) *fuzzRig {
	quiet := func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) }
	r := &fuzzRig{member: solo(f, append(change, quiet)...), methods: allMethods()}
	r.handler = r.service.handler()
	go func() {
		for range r.polls { // nobody else takes note of them
		}
	}()
	if r.conf.Token == "" {
		r.submit("here")
		r.register("n1", "s1", 4)
	}
	return r
}

// allMethods are the methods of the contract, those that stream among them.
func allMethods() (all []protoreflect.MethodDescriptor) {
	for _, name := range services() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			panic(err) // the stubs register what they are made of
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			all = append(all, methods.Get(i))
		}
	}
	return all
}

// method picks one by any number; unary ones only if so asked.
func (r *fuzzRig) method(n uint8, unary bool) protoreflect.MethodDescriptor {
	for i := int(n); ; i++ {
		if m := r.methods[i%len(r.methods)]; !unary || !m.IsStreamingServer() {
			return m
		}
	}
}

func pathOf(m protoreflect.MethodDescriptor) string {
	return "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
}

// serve answers one request, in time.
func (r *fuzzRig) serve(t *testing.T, req *http.Request, limit time.Duration) *httptest.ResponseRecorder {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	rec := httptest.NewRecorder()
	begun := time.Now()
	r.handler.ServeHTTP(rec, req.WithContext(ctx))
	if took := time.Since(begun); took > fuzzAnswerTime {
		t.Errorf("the answer took %s", took)
	}
	return rec
}

func (r *fuzzRig) post(t *testing.T, m protoreflect.MethodDescriptor, contentType string, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+pathOf(m), bytes.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	return r.serve(t, req, fuzzCallTime)
}

// unchanged runs something that must leave the state as it is. The lease of a node
// that was registered meanwhile may end at that very moment, hence the second try.
func (r *fuzzRig) unchanged(t *testing.T, what string, do func()) {
	t.Helper()
	for range 3 {
		before := r.engine.AppliedIndex()
		do()
		if r.engine.AppliedIndex() == before {
			return
		}
	}
	t.Errorf("%s changed the state each time", what)
}

// refusal is an error in JSON.
type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// statusOf are the HTTP statuses of Connect's codes that a caller may cause.
var statusOf = map[string]int{
	"invalid_argument": 400, "not_found": 404, "already_exists": 409, "failed_precondition": 400, "resource_exhausted": 429,
	"unavailable": 503, "aborted": 409, "deadline_exceeded": 504, "canceled": 499, "unimplemented": 501, "permission_denied": 403,
	"unauthenticated": 401,
}

// checkUnary looks at the answer of a unary Connect call, and returns the refusal
// if it is one.
func checkUnary(t *testing.T, rec *httptest.ResponseRecorder, out proto.Message, unmarshal func([]byte, proto.Message) error) *refusal {
	t.Helper()
	if rec.Code == http.StatusOK {
		if err := unmarshal(rec.Body.Bytes(), out); err != nil {
			t.Errorf("the answer %q is not one: %v", rec.Body, err)
		}
		return nil
	}
	var e refusal
	if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || e.Message == "" || statusOf[e.Code] != rec.Code {
		t.Errorf("the refusal is HTTP %d %q", rec.Code, rec.Body)
	}
	return &e
}

// seedBodies are requests in JSON that are understood, by method, and some that
// are not.
var seedBodies = map[string][]string{
	"SubmitTask": {
		`{"request_id":"r","id_only":true,"task":{"id":"a","name":"n","queue":"q","priority":-5,"labels":{"k":"v"},"exec":{"command":["sh","-c","true"],"env":{"A":"b"},"working_dir":"/tmp"},"resources":{"cpu_millis":"500","memory_bytes":1024,"gpus":1,"disk_bytes":"7","custom":{"license":"2"}},"constraints":{"providers":["aws"],"regions":["r"],"zones":["z"],"instance_types":["t"],"labels":[{"key":"k","operator":"LABEL_OPERATOR_IN","values":["a"]},{"key":"l","operator":5,"values":["3"]}],"spot":"SPOT_USE_NEVER","max_price_micros_per_hour":"5","node_id":"n1","gpu_models":["h100"],"min_gpu_memory_bytes":"1","preferred_regions":["r"]},"timeout":"1.5s","max_attempts":3,"max_lost_attempts":2}}`,
		`{"task":{"function":{"name":"f","payload":"AAEC"}}}`, `{"task":{"id":"late","exec":{"command":["true"]},"start_delay":"60s","queue_timeout":"5s","no_progress_timeout":"60s","retry_policy":{"initial_backoff":"1s","max_backoff":"2s","multiplier":1.5,"jitter":0,"exit_codes":[1,75]},"concurrency_key":"k","max_concurrency":2,"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","tracestate":"a=1"}}`, `{"task":{"exec":{"command":["true"]},"earliest_start_time":"2038-01-01T00:00:00Z","start_delay":"1s"}}`, `{"task":{"exec":{"command":["a","b\u0000"]}}}`, `{"task":{"id":"here","exec":{"command":["no"]}}}`,
		`{"task":{"exec":{"command":["true"]},"bogus":1}}`, `{"task":null}`, `[]`, `{`, ``, `{"task":{"timeout":"-1s","exec":{"command":["x"]}}}`,
	},
	"SubmitTasks":       {`{"requests":[{"task":{"id":"b","exec":{"command":["true"]}}},{"request_id":"r2","task":{"function":{"name":"f"}}}]}`, `{"requests":[]}`},
	"GetTask":           {`{"id":"here","consistency":"CONSISTENCY_STALE"}`, `{"id":"nobody"}`, `{"consistency":9}`},
	"GetTasks":          {`{"ids":["here","nobody","here"],"consistency":"CONSISTENCY_STALE","min_index":"1","max_staleness":"1s"}`, `{"ids":[""]}`, `{"ids":[]}`},
	"ListTasks":         {`{"statuses":["TASK_STATUS_PENDING",5],"queue":"default","node_id":"n1","name":"x","labels":{"k":"v"},"page_size":1,"page_token":"AAAA"}`, `{}`},
	"CancelTask":        {`{"id":"here"}`},
	"CancelTasks":       {`{"statuses":[1,"TASK_STATUS_RUNNING"],"queue":"nobody","node_id":"n1","name":"x","labels":{"k":"v"},"page_size":1,"page_token":"AAAA"}`, `{"queue":"nobody"}`, `{}`, `{"all":true,"queue":"q"}`},
	"RetryTask":         {`{"id":"here"}`, `{"id":"nobody"}`},
	"WatchTasks":        {`{"cursor":"0","task_ids":["here"],"queue":"default"}`, `{"cursor":"12-1"}`},
	"Heartbeat":         {`{"node_id":"n1","session_id":"s1","spec":{"slots":2,"exec":true,"capacity":{"gpus":1},"gpu_devices":[{"index":0,"model":"m","memory_bytes":5}],"labels":{"a":"b"},"functions":["f"]},"usage":{"cpu_millis":1},"held":[{"task_id":"here","attempt":1,"progress":{"done":"3","total":50,"message":"m"}}],"terminating_time":"2038-01-01T00:00:00Z"}`, `{"node_id":"n2","session_id":"s9"}`},
	"PollTask":          {`{"node_id":"n1","session_id":"s1","max_tasks":2,"wait":"0.01s","held":[{"task_id":"x","attempt":2}],"held_complete":true}`, `{"node_id":"n1","session_id":"old"}`},
	"ReportTaskResult":  {`{"task_id":"here","attempt":1,"node_id":"n1","session_id":"s1","status":"TASK_STATUS_FAILED","result":"AA==","error":"e","exit_code":1,"log_tail":"l","progress":{"done":1}}`},
	"ReportTaskResults": {`{"node_id":"n1","session_id":"s1","results":[{"task_id":"here","attempt":1,"status":4},{"task_id":"b","attempt":1,"status":5}],"max_tasks":1,"wait":"0.01s"}`},
	"WatchEvents":       {`{"cursor":"0","types":[1,2],"task_ids":["here"],"queue":"default","node_id":"n1"}`},
	"ListEvents":        {`{"cursor":"0","page_size":2,"wait":"0.01s","types":[1]}`, `{"cursor":"99999-1"}`, `{"max_staleness":"1s","consistency":2,"min_index":1}`},
	"PushLogs":          {`{"node_id":"n1","session_id":"s1","chunks":[{"task_id":"here","attempt":1,"offset":"0","text":"grüße\n"},{"task_id":"here","attempt":1,"offset":"900","oldest_offset":"900","text":"x"}]}`, `{"node_id":"n1","session_id":"old","chunks":[{"task_id":"here","attempt":1}]}`},
	"ReadLog":           {`{"task_id":"here","attempt":1,"offset":"3","wait":"0.01s"}`, `{"task_id":"here"}`, `{"task_id":"nobody"}`, `{"task_id":"here","offset":"1"}`},
	"TailLog":           {`{"task_id":"here","attempt":1}`, `{"task_id":"nobody"}`},
	"ListNodes":         {`{"statuses":["NODE_STATUS_HEALTHY"],"page_size":1}`, `{"page_token":"?"}`},
	"GetNode":           {`{"id":"n1"}`},
	"CordonNode":        {`{"id":"n1"}`, `{"id":"nobody"}`},
	"UncordonNode":      {`{"id":"n1"}`},
	"RemoveNode":        {`{"id":"n1"}`, `{"id":"nobody"}`},
	"DrainNode":         {`{"id":"n1","deadline":"60s"}`, `{"id":"n1"}`, `{"id":"n1","deadline":"-1s"}`},
	"ExplainTask":       {`{"id":"here"}`, `{"id":"nobody"}`},
	"CreateQueue":       {`{"queue":{"name":"q","weight":3,"paused":true,"limits":{"tasks":0,"cpu_millis":"5","memory_bytes":6,"gpus":1},"placement":"PLACEMENT_BINPACK","ageing_interval":"60s"}}`, `{"queue":{"name":"default","weight":2}}`, `{"queue":{}}`},
	"UpdateQueue":       {`{"queue":{"name":"default","weight":2,"placement":3},"fields":["QUEUE_FIELD_WEIGHT",7]}`, `{"queue":{"name":"nobody"},"fields":[1]}`, `{"queue":{"name":"default"},"fields":[0]}`},
	"PauseQueue":        {`{"name":"default"}`, `{"name":"nobody"}`},
	"ResumeQueue":       {`{"name":"default"}`},
	"DeleteQueue":       {`{"name":"nobody"}`, `{"name":"default"}`},
	"GetQueue":          {`{"name":"default","consistency":2}`, `{"name":"nobody"}`},
	"ListQueues":        {`{"page_size":1}`, `{"page_token":"?"}`},
	"GetCluster":        {`{}`},
	// Nobody listens at port 1, and the only member is not removed.
	"JoinMember":         {`{"address":"127.0.0.1:1"}`, `{"address":"nowhere"}`, `{"address":""}`},
	"RemoveMember":       {`{"name":"solo"}`, `{"name":"nobody"}`, `{"name":"a b"}`},
	"PromoteMember":      {`{"name":"solo"}`, `{}`},
	"TransferLeadership": {`{"name":"solo"}`, `{}`},
	"Snapshot":           {`{"name":"solo"}`, `{}`, `{"name":"nobody"}`},
	"Verify":             {`{}`},
	"Backup":             {`{}`, `{"consistency":"CONSISTENCY_STALE"}`, `{"consistency":7}`},
	"Query":              {`{"sql":"SELECT id, ?1 FROM tasks","params":["x"]}`, `{"sql":"SELECT 1; DROP TABLE tasks"}`, `{"sql":"SELECT ?1, ?2, ?3","params":[null,true,1e300]}`},
}

// eachSeed calls add with every seed and the number of its method.
func (r *fuzzRig) eachSeed(add func(n uint8, m protoreflect.MethodDescriptor, body string)) {
	for n, m := range r.methods {
		for _, body := range seedBodies[string(m.Name())] {
			add(uint8(n), m, body)
		}
	}
}

func FuzzJSON(f *testing.F) {
	r := newFuzzRig(f)
	r.eachSeed(func(n uint8, _ protoreflect.MethodDescriptor, body string) { f.Add(n, body) })
	f.Fuzz(func(t *testing.T, n uint8, body string) {
		m := r.method(n, true)
		var e *refusal
		call := func() {
			e = checkUnary(t, r.post(t, m, "application/json", []byte(body)), dynamicpb.NewMessage(m.Output()), protojson.Unmarshal)
		}
		call()
		if e != nil && e.Code == "invalid_argument" {
			r.unchanged(t, body, call)
		}
	})
}

// FuzzProto sends messages in Protobuf, and what was refused once more in JSON: it
// must be refused in the same words.
func FuzzProto(f *testing.F) {
	r := newFuzzRig(f)
	r.eachSeed(func(n uint8, m protoreflect.MethodDescriptor, body string) {
		msg := dynamicpb.NewMessage(m.Input())
		if protojson.Unmarshal([]byte(body), msg) == nil {
			b, err := proto.Marshal(msg)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(n, b)
		}
	})
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		m := r.method(n, true)
		var e *refusal
		call := func() {
			e = checkUnary(t, r.post(t, m, "application/proto", body), dynamicpb.NewMessage(m.Output()), proto.Unmarshal)
		}
		call()
		if e == nil || e.Code != "invalid_argument" {
			return
		}
		r.unchanged(t, string(body), call)
		msg := dynamicpb.NewMessage(m.Input())
		if proto.Unmarshal(body, msg) != nil {
			return
		}
		text, err := protojson.Marshal(msg)
		if err != nil {
			return // such as a number that JSON does not have
		}
		again := checkUnary(t, r.post(t, m, "application/json", text), dynamicpb.NewMessage(m.Output()), protojson.Unmarshal)
		if again == nil || again.Code != e.Code {
			t.Errorf("refused as %+v in Protobuf, and as %+v in JSON: %s", e, again, text)
		}
	})
}

// framed are the content types of protocols that put messages into frames.
var framed = []string{
	"application/grpc", "application/grpc+proto", "application/grpc+json", "application/grpc-web", "application/grpc-web+proto",
	"application/grpc-web+json", "application/connect+proto", "application/connect+json",
}

// FuzzFrames sends frames, whole and broken, to every method, that which streams
// among them.
func FuzzFrames(f *testing.F) {
	r := newFuzzRig(f)
	r.eachSeed(func(n uint8, m protoreflect.MethodDescriptor, body string) {
		for kind, contentType := range framed {
			b := []byte(body)
			if !strings.HasSuffix(contentType, "json") {
				msg := dynamicpb.NewMessage(m.Input())
				if protojson.Unmarshal(b, msg) != nil {
					continue
				}
				b, _ = proto.Marshal(msg)
			}
			f.Add(n, uint8(kind), append([]byte{0, 0, 0, byte(len(b) >> 8), byte(len(b))}, b...))
		}
	})
	f.Add(uint8(0), uint8(0), []byte{1, 0, 0, 0, 3, 'x', 'y', 'z'})
	f.Add(uint8(0), uint8(0), []byte{0, 255, 255, 255, 255, 0})
	f.Add(uint8(0), uint8(6), []byte{2, 0, 0, 0, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, n, kind uint8, body []byte) {
		m := r.method(n, false)
		contentType := framed[int(kind)%len(framed)]
		req := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+pathOf(m), bytes.NewReader(body))
		req.Proto, req.ProtoMajor, req.ProtoMinor = "HTTP/2.0", 2, 0
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("Te", "trailers")
		limit := fuzzCallTime
		if m.IsStreamingServer() {
			limit = 20 * time.Millisecond
		}
		rec := r.serve(t, req, limit)
		if rec.Code != http.StatusOK && rec.Code != http.StatusUnsupportedMediaType {
			t.Errorf("%s as %s: HTTP %d %q", m.Name(), contentType, rec.Code, rec.Body)
		}
		if text := rec.Body.String() + rec.Result().Trailer.Get("Grpc-Message"); strings.Contains(text, errInternal.Error()) {
			t.Errorf("%s as %s met a fault: %q", m.Name(), contentType, text)
		}
	})
}

// FuzzRequest sends requests of any form to a member that has a token, which none
// of them knows.
func FuzzRequest(f *testing.F) {
	r := newFuzzRig(f, withToken, func(c *Config) { c.CORSOrigins = []string{"https://console.example.com"} })
	add := func(method, target, contentType, header string, body string) {
		f.Add(method, target, contentType, header, []byte(body))
	}
	add("POST", "/controlplane.v1.TaskService/SubmitTask", "application/json", "Authorization: Bearer no", `{"task":{"exec":{"command":["x"]}}}`)
	add("GET", "/controlplane.v1.TaskService/GetTask?connect=v1&encoding=json&message=%7B%22id%22%3A%22here%22%7D", "", "Origin: https://console.example.com", "")
	add("OPTIONS", "/controlplane.v1.TaskService/SubmitTask", "", "Access-Control-Request-Method: POST", "")
	add("POST", "//controlplane.v1.QueryService/Query", "application/grpc", "Grpc-Timeout: 1S", "\x00\x00\x00\x00\x00")
	add("GET", "/livez", "", "Host: attacker.example", "")
	add("GET", "/raft/../metrics", "", "Authorization: basic x", "")
	add("POST", "/raft/join", "application/json", "Raft-Cluster-Id: x", `{"id":"a-1"}`)
	add("GET", "/raft", "", "Upgrade: raft", "")
	f.Fuzz(func(t *testing.T, method, target, contentType, header string, body []byte) {
		u, err := url.ParseRequestURI(target)
		if err != nil || strings.ContainsAny(method, " \r\n") {
			return // a server's parser refuses it
		}
		req := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", bytes.NewReader(body))
		req.Method, req.URL, req.RequestURI = method, u, target
		req.Header.Set("Content-Type", contentType)
		name, value, _ := strings.Cut(header, ":")
		req.Header.Set(name, strings.TrimSpace(value))
		if bearer(req.Header.Get("Authorization")) == testToken {
			return
		}
		before := r.engine.AppliedIndex()
		rec := r.serve(t, req, fuzzCallTime)
		if open(u.Path) || rec.Code == http.StatusNoContent && method == http.MethodOptions {
			return
		}
		if rec.Code < 300 && rec.Header().Get("Grpc-Status") != "16" && !strings.Contains(rec.Body.String(), "rpc-status: 16") && !strings.Contains(rec.Body.String(), "unauthenticated") {
			t.Errorf("%s %s without the token: HTTP %d %v %q", method, target, rec.Code, rec.Header(), rec.Body)
		}
		if strings.HasPrefix(u.Path, "/controlplane") && r.engine.AppliedIndex() != before {
			r.unchanged(t, target, func() { r.serve(t, req, fuzzCallTime) })
		}
	})
}

// FuzzRqlite sends anything to the paths that rqlite's clients use.
func FuzzRqlite(f *testing.F) {
	r := newFuzzRig(f)
	for _, s := range [][2]string{
		{"POST /db/query", `["SELECT id FROM tasks"]`}, {"POST /db/query?timings&associative&level=none", `[["SELECT ?, :a", 1, {"a": 2.5}]]`},
		{"POST /db/request", `[["SELECT 1"], ["DELETE FROM tasks"]]`}, {"GET /db/query?q=SELECT%201&pretty&freshness=1s", ``}, {"POST /db/query", `{`}, {"POST /db/query", `[[]]`}, {"POST /db/query", `[[1]]`},
		{"POST /db/execute", `["DROP TABLE tasks"]`}, {"POST /db/load", "SQLite format 3"}, {"GET /status?key=a.b", ``}, {"GET /nodes?ver=2&nonvoters", ``}, {"GET /leader", ``}, {"POST /db/query?timeout=x&level=9&blob_array", `["SELECT x'00'"]`},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, line, body string) {
		method, target, _ := strings.Cut(line, " ")
		u, err := url.ParseRequestURI(target)
		if err != nil || !isRqlite(u.Path) || method != http.MethodGet && method != http.MethodPost {
			return
		}
		do := func() {
			req := httptest.NewRequest(method, "http://127.0.0.1/", strings.NewReader(body))
			req.URL, req.RequestURI = u, target
			if rec := r.serve(t, req, fuzzCallTime); rec.Code == http.StatusInternalServerError || strings.Contains(rec.Body.String(), errInternal.Error()) {
				t.Errorf("HTTP %d %q", rec.Code, rec.Body)
			}
		}
		before := r.engine.AppliedIndex()
		do()
		if r.engine.AppliedIndex() != before {
			r.unchanged(t, line, do)
		}
	})
}

// FuzzPageToken takes no token that was not made for the query, and each that was.
func FuzzPageToken(f *testing.F) {
	tokens := newPageTokens("secret")
	seed := tokens.make(&v1.ListTasksRequest{Queue: "q"}, seqPlace(77))
	f.Add(seed, "q", int64(77))
	f.Add(seed[:len(seed)-1], "q", int64(77))
	f.Add("ydPtVvFnpyukW02", "q", int64(77)) // bits that base64 does not need
	f.Add(seed[:4]+"\n"+seed[4:], "q", int64(77))
	f.Add(seed, "other", int64(-1))
	f.Add("", "", int64(1<<62))
	f.Add("====", "q", int64(0))
	f.Fuzz(func(t *testing.T, token, queue string, seq int64) {
		req := &v1.ListTasksRequest{Queue: strings.ToValidUTF8(queue, "?"), PageToken: token, PageSize: 5}
		place, err := tokens.read(req, token)
		if err == nil && token != "" && tokens.make(req, place) != token {
			t.Errorf("%q is taken for the place %x", token, place)
		}
		if err != nil && place != nil {
			t.Errorf("%q is refused and has a place", token)
		}
		own := tokens.make(req, seqPlace(seq))
		place, err = tokens.read(req, own)
		if err != nil || placeSeq(place) != seq {
			t.Errorf("its own token %q: %x, %v", own, place, err)
		}
		if _, err := newPageTokens("another").read(req, own); err == nil {
			t.Errorf("%q is taken by another cluster", own)
		}
		if _, err := tokens.read(&v1.ListNodesRequest{}, own); err == nil {
			t.Errorf("%q is taken by another method", own)
		}
	})
}
