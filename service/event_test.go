package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

func (m *member) eventClient() controlplanev1connect.EventServiceClient {
	// Uncompressed, so that tests of slow readers know how much lies on the way.
	return controlplanev1connect.NewEventServiceClient(h2(m.t), m.url(), connect.WithAcceptCompression("gzip", nil, nil))
}

// watchEvents opens a watch and reads the message that says that it has begun.
func (m *member) watchEvents(req *v1.WatchEventsRequest) *connect.ServerStreamForClient[v1.WatchEventsResponse] {
	m.t.Helper()
	stream, err := m.eventClient().WatchEvents(testContext(m.t), connect.NewRequest(req))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = stream.Close() })
	if !stream.Receive() || stream.Msg().GetEvent() != nil || stream.Msg().GetCursor() == "" {
		m.t.Fatalf("first message %v, %v", stream.Msg(), stream.Err())
	}
	return stream
}

// eventName renders a change as "NODE_BACK n1" or "TASK_STARTED a/1@n1".
func eventName(e *v1.Event) string {
	name := strings.TrimPrefix(e.GetType().String(), "EVENT_TYPE_")
	if n := e.GetNode(); n != nil {
		return name + " " + n.GetNodeId()
	}
	t := e.GetTask()
	name = fmt.Sprintf("%s %s/%d", name, t.GetTaskId(), t.GetAttempt())
	if t.GetNodeId() != "" {
		name += "@" + t.GetNodeId()
	}
	return name
}

// nextEvents returns the next n changes.
func nextEvents(t *testing.T, stream *connect.ServerStreamForClient[v1.WatchEventsResponse], n int) (names []string, cursor string) {
	t.Helper()
	for len(names) < n {
		if !stream.Receive() {
			t.Fatalf("the watch ended after %v: %v", names, stream.Err())
		}
		cursor = stream.Msg().GetCursor()
		if e := stream.Msg().GetEvent(); e != nil {
			names = append(names, eventName(e))
			if e.GetCursor() != cursor || e.GetTime() == nil {
				t.Errorf("event %v with cursor %s", e, cursor)
			}
		}
	}
	return names, cursor
}

// live takes a node and two tasks through their lives.
func (m *member) live() {
	m.t.Helper()
	m.register("n1", "s1", 1)
	m.register("n1", "s1", 1) // says nothing new
	m.submit("a")
	if work, err := m.poll("n1", "s1", 10*time.Second); err != nil || len(work.GetTasks()) != 1 {
		m.t.Fatalf("%v, %v", work, err)
	}
	m.register("n1", "s1", 2)
	m.register("n1", "s2", 2)
	m.post("TaskService/CancelTask", `{"id":"a"}`)
	m.post("TaskService/SubmitTask", `{"task":{"id":"b","queue":"other","resources":{"gpus":1},"exec":{"command":["true"]}}}`)
}

var life = []string{
	"NODE_REGISTERED n1", "TASK_SUBMITTED a/0", "TASK_ASSIGNED a/1@n1", "TASK_STARTED a/1@n1", "NODE_UPDATED n1",
	"TASK_REQUEUED a/1@n1", "NODE_SESSION_REPLACED n1", "TASK_CANCELLED a/1", "TASK_SUBMITTED b/0",
}

// withoutAssigned leaves out what depends on whether the poll came before the task.
func withoutAssigned(names []string) (out []string) {
	for _, n := range names {
		if !strings.HasPrefix(n, "TASK_ASSIGNED") {
			out = append(out, n)
		}
	}
	return out
}

// listAll pages through all changes that req selects.
func (m *member) listAll(req *v1.ListEventsRequest) (names []string, cursor string) {
	m.t.Helper()
	for {
		res, err := m.eventClient().ListEvents(testContext(m.t), connect.NewRequest(req))
		if err != nil {
			m.t.Fatal(err)
		}
		if n := len(res.Msg.GetEvents()); req.GetPageSize() > 0 && n > int(req.GetPageSize()) {
			m.t.Errorf("%d changes on a page of %d", n, req.GetPageSize())
		}
		for _, e := range res.Msg.GetEvents() {
			names = append(names, eventName(e))
		}
		req.Cursor = res.Msg.GetNextCursor()
		if len(res.Msg.GetEvents()) == 0 {
			return names, req.GetCursor()
		}
	}
}

func TestEventsOfTasksAndNodes(t *testing.T) {
	m := solo(t)
	m.live()
	all, cursor := m.listAll(&v1.ListEventsRequest{Cursor: "0"})
	if got, want := withoutAssigned(all), withoutAssigned(life); !reflect.DeepEqual(got, want) {
		t.Fatalf("changes %v\nwant %v", got, want)
	}
	for size := range int32(4) {
		if paged, end := m.listAll(&v1.ListEventsRequest{Cursor: "0", PageSize: size}); !reflect.DeepEqual(paged, all) || end != cursor {
			t.Errorf("in pages of %d: %v up to %s, not %s", size, paged, end, cursor)
		}
	}
	if streamed, _ := nextEvents(t, m.watchEvents(&v1.WatchEventsRequest{Cursor: "0"}), len(all)); !reflect.DeepEqual(streamed, all) {
		t.Errorf("streamed %v", streamed)
	}
	for _, c := range []struct {
		req  *v1.ListEventsRequest
		want string
	}{
		{&v1.ListEventsRequest{TaskIds: []string{"b", "x"}}, "TASK_SUBMITTED b/0"},
		{&v1.ListEventsRequest{Queue: "other"}, "TASK_SUBMITTED b/0"},
		{&v1.ListEventsRequest{Types: []v1.EventType{v1.EventType_EVENT_TYPE_NODE_UPDATED, v1.EventType_EVENT_TYPE_TASK_CANCELLED}},
			"NODE_UPDATED n1, TASK_CANCELLED a/1"},
		{&v1.ListEventsRequest{NodeId: "n1", Types: []v1.EventType{v1.EventType_EVENT_TYPE_NODE_REGISTERED, v1.EventType_EVENT_TYPE_TASK_STARTED}},
			"NODE_REGISTERED n1, TASK_STARTED a/1@n1"},
		{&v1.ListEventsRequest{NodeId: "n1", Queue: "other"}, ""},
		{&v1.ListEventsRequest{NodeId: "n2"}, ""},
	} {
		c.req.Cursor = "0"
		filters := fmt.Sprint(c.req)
		watch := &v1.WatchEventsRequest{Cursor: "0", Types: c.req.GetTypes(), TaskIds: c.req.GetTaskIds(), Queue: c.req.GetQueue(), NodeId: c.req.GetNodeId()}
		got, _ := m.listAll(c.req)
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %v, want %s", filters, got, c.want)
		}
		if n := len(got); n > 0 {
			if streamed, _ := nextEvents(t, m.watchEvents(watch), n); strings.Join(streamed, ", ") != c.want {
				t.Errorf("%s: streamed %v, want %s", filters, streamed, c.want)
			}
		}
	}
	// A watch of tasks leaves nodes out and has the same cursors.
	tasks := 0
	for _, e := range all {
		if strings.HasPrefix(e, "TASK") {
			tasks++
		}
	}
	if got, _ := next(t, m.watchTasks(&v1.WatchTasksRequest{Cursor: "0"}), tasks); len(got) != tasks {
		t.Errorf("changes of tasks: %v", got)
	}
}

func TestANodeThatExpiresAndComesBack(t *testing.T) {
	m := solo(t)
	m.register("n1", "s1", 1)
	stream := m.watchEvents(&v1.WatchEventsRequest{})
	n, err := m.tasks.GetNode(testContext(t), "n1")
	if err != nil {
		t.Fatal(err)
	}
	err = m.tasks.Do(testContext(t), 0, func(g *db.Group) { g.Add(db.ExpireOp("n1", n.Renewal, 1, 1), nil) })
	if err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	e := stream.Msg().GetEvent()
	if eventName(e) != "NODE_EXPIRED n1" || e.GetNode().GetStatus() != v1.NodeStatus_NODE_STATUS_UNHEALTHY ||
		e.GetNode().GetNode().GetStatus() != v1.NodeStatus_NODE_STATUS_UNHEALTHY || e.GetNode().GetNode().GetSpec().GetSlots() != 1 {
		t.Errorf("event %v", e)
	}
	if err := m.tasks.UpdateNodeHeartbeat(testContext(t), "n1", 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if got, _ := nextEvents(t, stream, 1); got[0] != "NODE_BACK n1" {
		t.Errorf("then %v", got)
	}
}

func TestLongPollOfEvents(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	at := followers[0]
	start, err := at.eventClient().ListEvents(testContext(t), connect.NewRequest(&v1.ListEventsRequest{}))
	if err != nil || len(start.Msg.GetEvents()) != 0 || start.Msg.GetNextCursor() == "" {
		t.Fatalf("%v, %v", start, err)
	}
	got := make(chan []string, 1)
	early, cancel := context.WithTimeout(t.Context(), 20*time.Second) // it answers before its wait is over
	defer cancel()
	go func() {
		res, err := at.eventClient().ListEvents(early, connect.NewRequest(&v1.ListEventsRequest{
			Cursor: start.Msg.GetNextCursor(), Wait: durationpb.New(25 * time.Second), TaskIds: []string{"b", "c"}}))
		if err != nil {
			t.Error(err)
			res = connect.NewResponse(&v1.ListEventsResponse{})
		}
		var names []string
		for _, e := range res.Msg.GetEvents() {
			names = append(names, eventName(e))
		}
		got <- names
	}()
	leader.submit("a") // which is not waited for
	leader.submit("b")
	if names := <-got; len(names) != 1 || names[0] != "TASK_SUBMITTED b/0" {
		t.Errorf("the poll returned %v", names)
	}
	// At another member, from where the first began: nothing is missed.
	if names, _ := followers[1].listAll(&v1.ListEventsRequest{Cursor: start.Msg.GetNextCursor()}); fmt.Sprint(names) != "[TASK_SUBMITTED a/0 TASK_SUBMITTED b/0]" {
		t.Errorf("at another member: %v", names)
	}
	// A poll in vain ends with its wait, and its cursor is past what was filtered out.
	res, err := at.eventClient().ListEvents(testContext(t), connect.NewRequest(&v1.ListEventsRequest{
		Cursor: start.Msg.GetNextCursor(), Wait: durationpb.New(50 * time.Millisecond), TaskIds: []string{"nobody"}}))
	if err != nil || len(res.Msg.GetEvents()) != 0 {
		t.Fatalf("in vain: %v, %v", res, err)
	}
	if names, _ := at.listAll(&v1.ListEventsRequest{Cursor: res.Msg.GetNextCursor()}); len(names) != 0 {
		t.Errorf("after a poll in vain: %v", names)
	}
}

func TestALongPollEndsWhenItsMemberStops(t *testing.T) {
	m := solo(t)
	ended := make(chan error, 1)
	go func() {
		_, err := m.eventClient().ListEvents(testContext(t), connect.NewRequest(&v1.ListEventsRequest{Wait: durationpb.New(25 * time.Second)}))
		ended <- err
	}()
	select { // the poll has begun, or begins when its member is about to stop
	case err := <-ended:
		t.Fatalf("the poll ended at once: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	begun := time.Now()
	m.close()
	if err := <-ended; err != nil && connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("the poll ended with %v", err)
	}
	if took := time.Since(begun); took > 20*time.Second { // the poll would wait for 25 s
		t.Errorf("stopping took %s", took)
	}
}

func TestACursorThatIsNoLongerKept(t *testing.T) {
	m := solo(t)
	stream := m.watchEvents(&v1.WatchEventsRequest{Cursor: "0"})
	for i := range 5 {
		m.submit(fmt.Sprintf("t%d", i))
	}
	_, first := nextEvents(t, stream, 1)
	_, third := nextEvents(t, stream, 2)
	_, fifth := nextEvents(t, stream, 2)
	if _, err := m.tasks.PruneEvents(testContext(t), db.Retention{Entries: 2}); err != nil {
		t.Fatal(err)
	}
	_, err := m.eventClient().ListEvents(testContext(t), connect.NewRequest(&v1.ListEventsRequest{Cursor: first}))
	info := errorInfoOf(t, err)
	if connect.CodeOf(err) != connect.CodeOutOfRange || info.GetReason() != "CURSOR_EXPIRED" ||
		info.GetMetadata()["oldest_cursor"] != third || info.GetMetadata()["newest_cursor"] != fifth {
		t.Errorf("%v, details %v; want %s and %s", err, info, third, fifth)
	}
	late, err := m.eventClient().WatchEvents(testContext(t), connect.NewRequest(&v1.WatchEventsRequest{Cursor: first}))
	if err != nil {
		t.Fatal(err)
	}
	for late.Receive() {
		if late.Msg().GetEvent() != nil {
			t.Errorf("a watch from a cursor that is not kept: %v", late.Msg())
		}
	}
	if got := errorInfoOf(t, late.Err()); got.GetReason() != "CURSOR_EXPIRED" {
		t.Errorf("a watch: %v", late.Err())
	}
	for _, cursor := range []string{info.GetMetadata()["oldest_cursor"], "0"} {
		if names, _ := m.listAll(&v1.ListEventsRequest{Cursor: cursor}); fmt.Sprint(names) != "[TASK_SUBMITTED t3/0 TASK_SUBMITTED t4/0]" {
			t.Errorf("from %s: %v", cursor, names)
		}
	}
}

// errorInfoOf returns the detail by which programs tell errors apart.
func errorInfoOf(t *testing.T, err error) *errdetails.ErrorInfo {
	t.Helper()
	var ce *connect.Error
	if !errors.As(err, &ce) {
		t.Fatalf("%v is no error of a call", err)
	}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.ErrorInfo); ok {
				return info
			}
		}
	}
	return nil
}

// fillWatch submits tasks with large labels until a watch that is not read has filled
// its connection: the call is held up in a send.
func (m *member) fillWatch(n int) {
	m.t.Helper()
	labels := map[string]string{}
	for i := range 32 {
		labels[fmt.Sprint(i)] = strings.Repeat("x", 256)
	}
	for i := range n {
		task := echo(fmt.Sprintf("big-%d", i))
		task.Labels = labels
		if _, err := m.taskClient().SubmitTask(testContext(m.t), connect.NewRequest(&v1.SubmitTaskRequest{Task: task})); err != nil {
			m.t.Fatal(err)
		}
	}
}

// endedWatches counts the watches that have ended, by /metrics.
func (m *member) endedWatches() (n int) {
	_, _, body := m.get("/metrics")
	for line := range strings.SplitSeq(body["text"].(string), "\n") {
		if strings.HasPrefix(line, `controlplane_rpc_calls_total{`) && strings.Contains(line, `method="WatchEvents"`) {
			count, _ := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			n += count
		}
	}
	return n
}

// openRaw opens a watch over HTTP/1.1 whose body is not read.
func (m *member) openRaw(cursor string) *http.Response {
	m.t.Helper()
	body := `{"cursor":"` + cursor + `"}`
	frame := append([]byte{0, 0, 0, 0, byte(len(body))}, body...)
	req, err := http.NewRequestWithContext(testContext(m.t), http.MethodPost, m.url()+"/controlplane.v1.EventService/WatchEvents", bytes.NewReader(frame))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/connect+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		m.t.Fatalf("%v, %v", res, err)
	}
	m.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestAReaderThatTakesNothingIsCut(t *testing.T) {
	m := solo(t)
	m.service.watchTimes = watchTimes{heartbeat: 50 * time.Millisecond, slow: time.Hour, cut: 500 * time.Millisecond}
	h1 := m.openRaw("0")
	h2 := m.watchEvents(&v1.WatchEventsRequest{Cursor: "0"})
	m.fillWatch(1500)                           // 12 MB: more than any buffer on the way
	deadline := time.Now().Add(testTimeout / 3) // well before the callers themselves give up
	for m.endedWatches() < 2 {
		if time.Now().After(deadline) {
			t.Fatal("a watch was not cut")
		}
		time.Sleep(20 * time.Millisecond)
	}
	for name, read := range map[string]func() error{
		"HTTP/1.1": func() error { _, err := new(bytes.Buffer).ReadFrom(h1.Body); return err },
		"HTTP/2": func() error {
			for h2.Receive() {
			}
			return h2.Err()
		},
	} {
		if err := read(); err == nil {
			t.Errorf("%s: a cut watch ended well", name)
		}
	}
}

func TestASlowReaderIsToldWhereToGoOn(t *testing.T) {
	m := solo(t)
	m.service.watchTimes = watchTimes{heartbeat: time.Second, slow: 200 * time.Millisecond, cut: time.Minute}
	stream := m.watchEvents(&v1.WatchEventsRequest{Cursor: "0"})
	const tasks = 1500
	m.fillWatch(tasks)
	time.Sleep(400 * time.Millisecond) // longer than slow: the watch is held up in a send meanwhile
	var got []string
	cursor := ""
	for stream.Receive() {
		cursor = stream.Msg().GetCursor()
		if e := stream.Msg().GetEvent(); e != nil {
			got = append(got, eventName(e))
		}
	}
	info := errorInfoOf(t, stream.Err())
	if connect.CodeOf(stream.Err()) != connect.CodeUnavailable || info.GetReason() != "SLOW_READER" || info.GetMetadata()["cursor"] != cursor || len(got) == 0 || len(got) >= tasks {
		t.Fatalf("after %d changes up to %s: %v, %v", len(got), cursor, stream.Err(), info)
	}
	rest, _ := m.listAll(&v1.ListEventsRequest{Cursor: cursor, PageSize: 1000})
	for i, name := range append(got, rest...) {
		if name != fmt.Sprintf("TASK_SUBMITTED big-%d/0", i) {
			t.Fatalf("change %d is %s", i, name)
		}
	}
	if len(got)+len(rest) != tasks {
		t.Errorf("%d changes, then %d", len(got), len(rest))
	}
}

func TestLimitsOfEvents(t *testing.T) {
	m := solo(t)
	ids := `"` + strings.Repeat(`x","`, 100) + `x"`
	for body, field := range map[string]string{
		`{"wait":"26s"}`:                       "wait",
		`{"wait":"-1s"}`:                       "wait",
		`{"pageSize":1001}`:                    "page_size",
		`{"types":["EVENT_TYPE_UNSPECIFIED"]}`: "types[0]",
		`{"taskIds":[` + ids + `]}`:            "task_ids",
		`{"cursor":"1"}`:                       "cursor",
		`{"cursor":"999999999-0"}`:             "cursor",
	} {
		code, _, got := m.post("EventService/ListEvents", body)
		if message, _ := got["message"].(string); code != 400 || !strings.HasPrefix(message, field+": ") {
			t.Errorf("%.60s: %d %v", body, code, got)
		}
	}
}
