package service

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

func (m *member) logClient() controlplanev1connect.LogServiceClient {
	return controlplanev1connect.NewLogServiceClient(h2(m.t), m.url())
}

// run submits a task and lets a node fetch it.
func (m *member) run(id, node, session string) *v1.Task {
	m.t.Helper()
	m.register(node, session, 4)
	task := echo(id)
	task.MaxAttempts = 3
	if _, err := m.taskClient().SubmitTask(testContext(m.t), connect.NewRequest(&v1.SubmitTaskRequest{Task: task})); err != nil {
		m.t.Fatal(err)
	}
	work, err := m.poll(node, session, 20*time.Second)
	if err != nil || len(work.GetTasks()) != 1 {
		m.t.Fatalf("polled %v, %v", work, err)
	}
	return work.GetTasks()[0]
}

func chunk(task string, attempt int32, offset, oldest int64, text string) *v1.LogChunk {
	return &v1.LogChunk{TaskId: task, Attempt: attempt, Offset: offset, OldestOffset: oldest, Text: text}
}

// push sends chunks as a worker does and returns what became of them.
func (m *member) push(node, session string, chunks ...*v1.LogChunk) []*v1.LogOutcome {
	m.t.Helper()
	res, err := m.logClient().PushLogs(testContext(m.t), connect.NewRequest(&v1.PushLogsRequest{NodeId: node, SessionId: session, Chunks: chunks}))
	if err != nil {
		m.t.Fatalf("push at %s: %v", m.cfg.Name, err)
	}
	if len(res.Msg.GetOutcomes()) != len(chunks) || res.Msg.GetInterval().AsDuration() <= 0 {
		m.t.Fatalf("%d chunks were answered by %v", len(chunks), res.Msg)
	}
	return res.Msg.GetOutcomes()
}

func (m *member) report(node, session, task string, attempt int32, status v1.TaskStatus, tail string, offset int64) {
	m.t.Helper()
	_, err := m.nodeClient().ReportTaskResult(testContext(m.t), connect.NewRequest(&v1.ReportTaskResultRequest{
		TaskId: task, Attempt: attempt, NodeId: node, SessionId: session, Status: status, LogTail: tail, LogOffset: offset,
		RetryAfter: retryAfter(status)}))
	if err != nil {
		m.t.Fatalf("report: %v", err)
	}
}

func retryAfter(status v1.TaskStatus) *durationpb.Duration {
	if status == v1.TaskStatus_TASK_STATUS_FAILED {
		return durationpb.New(time.Millisecond)
	}
	return nil
}

func (m *member) readLog(req *v1.ReadLogRequest) (*v1.LogPart, error) {
	m.t.Helper()
	res, err := m.logClient().ReadLog(testContext(m.t), connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg.GetPart(), nil
}

// tailing is a stream of a log under way.
type tailing struct {
	t      *testing.T
	stream *connect.ServerStreamForClient[v1.TailLogResponse]
	last   *v1.LogPart
	text   string
}

func (m *member) tail(t *testing.T, req *v1.TailLogRequest) *tailing {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	t.Cleanup(cancel)
	stream, err := m.logClient().TailLog(ctx, connect.NewRequest(req))
	if err != nil {
		t.Fatal(err)
	}
	return &tailing{t: t, stream: stream}
}

// until reads on until that much text is there, or with a negative number to the end.
func (l *tailing) until(bytes int) string {
	l.t.Helper()
	for bytes < 0 || len(l.text) < bytes {
		if !l.stream.Receive() {
			if bytes >= 0 || l.stream.Err() != nil {
				l.t.Fatalf("the stream ended after %q: %v", l.text, l.stream.Err())
			}
			return l.text
		}
		l.last = l.stream.Msg().GetPart()
		if l.last.GetDroppedBytes() != l.last.GetOffset()-int64(len(l.text)) {
			l.t.Fatalf("after %q: %v", l.text, l.last)
		}
		l.text += l.last.GetText()
	}
	return l.text
}

const completedStatus = v1.TaskStatus_TASK_STATUS_COMPLETED

func TestALogIsReadAtEachMemberWhileItsTaskRuns(t *testing.T) {
	members := newCluster(t, 3)
	leader, _ := roles(t, members)
	leader.run("a", "n1", "s1")
	var readers []*tailing
	for _, m := range members {
		readers = append(readers, m.tail(t, &v1.TailLogRequest{TaskId: "a"}))
	}
	want := ""
	for i, m := range members {
		line := "line " + m.cfg.Name + " grüße\n"
		out := m.push("n1", "s1", chunk("a", 1, int64(len(want)), 0, line))
		if want += line; out[0].GetNextOffset() != int64(len(want)) {
			t.Fatalf("line %d: %v", i, out)
		}
		for _, r := range readers {
			if got := r.until(len(want)); got != want || r.last.GetAttempt() != 1 || r.last.GetNodeId() != "n1" || r.last.GetEnded() {
				t.Fatalf("%q, %v", got, r.last)
			}
		}
	}
	const rest = "not pushed\n"
	leader.report("n1", "s1", "a", 1, completedStatus, want+rest, 0)
	for _, r := range readers {
		if got := r.until(-1); got != want+rest || !r.last.GetEnded() || r.last.GetTaskStatus() != completedStatus {
			t.Errorf("at the end: %q, %v", got, r.last)
		}
	}
	for _, m := range members {
		if p, err := m.readLog(&v1.ReadLogRequest{TaskId: "a", Attempt: 1, Offset: 5}); err != nil || p.GetText() != (want + rest)[5:] || !p.GetEnded() {
			t.Errorf("afterwards: %v, %v", p, err)
		}
	}
}

func TestALogGoesOnWithANewLeader(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	leader.run("a", "n1", "s1")
	reader := followers[0].tail(t, &v1.TailLogRequest{TaskId: "a"})
	followers[0].push("n1", "s1", chunk("a", 1, 0, 0, "before\n"))
	reader.until(7)
	leader.close()
	other := followers[1]
	// The worker does not know of the new leader, which asks for what it lacks.
	if out := other.push("n1", "s1", chunk("a", 1, 7, 3, "after\n")); out[0].GetNextOffset() != 3 {
		t.Errorf("the new leader answers %v, want that it asks from 3 on", out)
	}
	other.push("n1", "s1", chunk("a", 1, 3, 3, "ore\nafter\n"))
	if got := reader.until(13); got != "before\nafter\n" {
		t.Errorf("across the loss of the leader: %q", got)
	}
	other.report("n1", "s1", "a", 1, completedStatus, "er\nend\n", 10)
	if got := reader.until(-1); got != "before\nafter\nend\n" {
		t.Errorf("to the end: %q", got)
	}
}

// TestAKeptLogKnowsWhereItBegins resumes at a member that has never held the log.
func TestAKeptLogKnowsWhereItBegins(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	leader.run("a", "n1", "s1")
	leader.push("n1", "s1", chunk("a", 1, 0, 0, "0123456789"))
	leader.report("n1", "s1", "a", 1, completedStatus, "89abc", 8)
	for _, tt := range []struct {
		offset, at int64
		text       string
	}{{0, 8, "89abc"}, {10, 10, "abc"}, {13, 13, ""}, {20, 20, ""}} {
		p, err := followers[0].readLog(&v1.ReadLogRequest{TaskId: "a", Attempt: 1, Offset: tt.offset})
		if err != nil || p.GetText() != tt.text || p.GetOffset() != tt.at || !p.GetEnded() || p.GetDroppedBytes() != tt.at-tt.offset {
			t.Errorf("from %d: %v, %v", tt.offset, p, err)
		}
	}
}

func TestAttemptsOfATaskAreReadApart(t *testing.T) {
	m := solo(t)
	m.run("a", "n1", "s1")
	first := m.tail(t, &v1.TailLogRequest{TaskId: "a"})
	second := m.tail(t, &v1.TailLogRequest{TaskId: "a", Attempt: 2})
	m.push("n1", "s1", chunk("a", 1, 0, 0, "first\n"))
	first.until(6)
	m.report("n1", "s1", "a", 1, v1.TaskStatus_TASK_STATUS_FAILED, "first\n", 0)
	if work, err := m.poll("n1", "s1", 20*time.Second); err != nil || len(work.GetTasks()) != 1 || work.GetTasks()[0].GetAttempt() != 2 {
		t.Fatalf("polled %v, %v", work, err)
	}
	m.register("n2", "s2", 1)
	out := m.push("n1", "s1", chunk("a", 1, 6, 0, "too late\n"), chunk("a", 2, 0, 0, "second\n"), chunk("nobody", 1, 0, 0, "x"))
	if out[0].GetError().GetCode() != "failed_precondition" || out[1].GetNextOffset() != 7 || out[2].GetError().GetCode() != "failed_precondition" {
		t.Errorf("outcomes %v", out)
	}
	for _, who := range [][2]string{{"n1", "s-old"}, {"n2", "s2"}, {"n9", "s9"}} {
		if out := m.push(who[0], who[1], chunk("a", 2, 7, 0, "not mine\n")); out[0].GetError() == nil {
			t.Errorf("%v may write into the log: %v", who, out)
		}
	}
	m.report("n1", "s1", "a", 2, completedStatus, "second\n", 0)
	if got := first.until(-1); got != "first\n" || first.last.GetAttempt() != 1 {
		t.Errorf("attempt 1 has %q, %v", got, first.last)
	}
	if got := second.until(-1); got != "second\n" || second.last.GetAttempt() != 2 {
		t.Errorf("attempt 2 has %q, %v", got, second.last)
	}
	if p, err := m.readLog(&v1.ReadLogRequest{TaskId: "a", Attempt: 1}); err != nil || p.GetText() != "first\n" || !p.GetEnded() {
		t.Errorf("attempt 1 afterwards: %v, %v", p, err)
	}
	if p, err := m.readLog(&v1.ReadLogRequest{TaskId: "a", Attempt: 3, Wait: durationpb.New(20 * time.Second)}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("attempt 3: %v, %v", p, err)
	}
}

func TestAReaderThatIsBehindIsToldWhatWasDropped(t *testing.T) {
	m := solo(t)
	m.run("a", "n1", "s1")
	reader := m.tail(t, &v1.TailLogRequest{TaskId: "a"})
	m.push("n1", "s1", chunk("a", 1, 0, 0, "abc"))
	reader.until(3)
	big := strings.Repeat("x", 1<<16)
	m.push("n1", "s1", chunk("a", 1, 5000, 5000, big)) // printed faster than it was sent
	if !reader.stream.Receive() {
		t.Fatal(reader.stream.Err())
	}
	if p := reader.stream.Msg().GetPart(); p.GetDroppedBytes() != 4997 || p.GetOffset() != 5000 || p.GetText() != big {
		t.Errorf("%d dropped, at %d, %d bytes", p.GetDroppedBytes(), p.GetOffset(), len(p.GetText()))
	}
}

func TestReadLogWaitsForTheFirstAttempt(t *testing.T) {
	m := solo(t)
	m.submit("a")
	if p, err := m.readLog(&v1.ReadLogRequest{TaskId: "a"}); err != nil || p.GetAttempt() != 0 || p.GetEnded() || p.GetTaskStatus() != v1.TaskStatus_TASK_STATUS_PENDING {
		t.Errorf("before its first attempt: %v, %v", p, err)
	}
	got := make(chan *v1.LogPart, 1)
	go func() {
		p, err := m.readLog(&v1.ReadLogRequest{TaskId: "a", Wait: durationpb.New(25 * time.Second)})
		if err != nil {
			t.Error(err)
		}
		got <- p
	}()
	m.register("n1", "s1", 1)
	if work, err := m.poll("n1", "s1", 20*time.Second); err != nil || len(work.GetTasks()) != 1 {
		t.Fatalf("polled %v, %v", work, err)
	}
	m.push("n1", "s1", chunk("a", 1, 0, 0, "begun\n"))
	if p := <-got; p.GetText() != "begun\n" || p.GetAttempt() != 1 {
		t.Errorf("after the wait: %v", p)
	}
	waiting := m.tail(t, &v1.TailLogRequest{TaskId: "a", Attempt: 1})
	waiting.until(6)
	if _, err := m.taskClient().CancelTask(testContext(t), connect.NewRequest(&v1.CancelTaskRequest{Id: "a"})); err != nil {
		t.Fatal(err)
	}
	m.report("n1", "s1", "a", 1, v1.TaskStatus_TASK_STATUS_CANCELLED, "begun\n", 0)
	waiting.until(-1)
	nobodys := &v1.Task{Id: "b", Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "none"}}}
	if _, err := m.taskClient().SubmitTask(testContext(t), connect.NewRequest(&v1.SubmitTaskRequest{Task: nobodys})); err != nil {
		t.Fatal(err)
	}
	never := m.tail(t, &v1.TailLogRequest{TaskId: "b"})
	if _, err := m.taskClient().CancelTask(testContext(t), connect.NewRequest(&v1.CancelTaskRequest{Id: "b"})); err != nil {
		t.Fatal(err)
	}
	if got := never.until(-1); got != "" || never.last.GetAttempt() != 0 {
		t.Errorf("of a task that never began: %q, %v", got, never.last)
	}
}
