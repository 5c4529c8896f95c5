package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/transcripts/*.txt anew")

// TestTranscripts runs the command lines in testdata/transcripts, which begin with
// "$ ", and compares what they print with what stands below each: standard output,
// standard error behind "! ", and the exit code if it is not 0. Lines with "# " are
// for readers. A word after ' < ' is standard input.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			path, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			m := exampleMember(t)
			home := t.TempDir()
			t.Setenv("HOME", home)
			t.Setenv("XDG_CONFIG_HOME", "")
			t.Chdir("testdata/jobs")
			jobs, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			got := transcript(t, string(want), m.url, strings.NewReplacer(m.url, "http://member", home, "~", jobs, "/home/me"))
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s is not what is printed now; -rewrite writes:\n%s", file, got)
			}
		})
	}
}

// transcript runs the commands of a transcript and writes it anew.
func transcript(t *testing.T, text, url string, hide *strings.Replacer) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "# ") {
			fmt.Fprintf(&b, "%s", line)
		}
		command, ok := strings.CutPrefix(line, "$ raft-node ")
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "%s", line)
		command, input, _ := strings.Cut(strings.TrimSuffix(command, "\n"), " < ")
		command = strings.ReplaceAll(command, "http://member", url)
		r := cliWith(t.Context(), strings.ReplaceAll(input, `\n`, "\n"), words(command)...)
		out := hide.Replace(r.out)
		if out != r.out { // what was hidden may have any width
			out = columns.ReplaceAllString(out, "$1  ")
		}
		b.WriteString(out)
		for line := range strings.Lines(hide.Replace(r.err)) {
			b.WriteString("! " + line)
		}
		if r.code != 0 {
			fmt.Fprintf(&b, "exit code %d\n", r.code)
		}
		b.WriteString("\n")
	}
	return clocks.ReplaceAllString(instants.ReplaceAllString(b.String(), "TIME"), "At: TIME")
}

var clocks = regexp.MustCompile(`At: +[0-9:]+`)

var instants = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z`)

var columns = regexp.MustCompile(`([^ \n]) {2,}`)

var word = regexp.MustCompile(`'[^']*'|[^ ]+`)

// words splits a command line as a shell does that knows single quotes only.
func words(line string) []string {
	all := word.FindAllString(line, -1)
	for i, w := range all {
		all[i] = strings.Trim(w, "'")
	}
	return all
}

// refusals are why exampleMember refuses a task, by its name.
var refusals = map[string]string{
	"refused":     "taken",
	"id-taken":    "requests[N].task.id: task t9 exists and is another one: choose another id",
	"key-taken":   "requests[N].request_id: it belongs to task t9, which differs in exec.command: use a new request_id",
	"key-taken-b": "requests[N].request_id: it belongs to task t9, which differs in exec.command: use a new request_id",
}

// exampleMember is a member with two tasks, a node and a queue, which do not change.
func exampleMember(t *testing.T) *member {
	t.Helper()
	var mu sync.Mutex
	hourAgo := timestamppb.New(time.Now().Add(-time.Hour - time.Minute))
	tasks := []*v1.Task{
		{Id: "t2", Name: "FAILED", Queue: "gpu", Status: v1.TaskStatus_TASK_STATUS_RUNNING, NodeId: "n1", Attempt: 1, CreateTime: hourAgo,
			Labels: map[string]string{"team": "vision"}, Resources: &v1.Resources{Gpus: 2, CpuMillis: 1500},
			Work: &v1.Task_Exec{Exec: &v1.ExecTask{Command: []string{"python3", "train.py", "--name", "a b"}}}},
		{Id: "t1", Queue: "default", Status: v1.TaskStatus_TASK_STATUS_FAILED, NodeId: "n1", Attempt: 3, Error: "out of memory", CreateTime: hourAgo, Priority: 5,
			Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "resize"}}},
	}
	node := &v1.Node{Id: "n1", Status: v1.NodeStatus_NODE_STATUS_HEALTHY, Schedulable: true, Polling: true, RunningTasks: 1, HeartbeatTime: hourAgo,
		Reserved: &v1.Resources{CpuMillis: 1500, Gpus: 2},
		Spec: &v1.NodeSpec{Slots: 4, Provider: "aws", Region: "us-east-1", InstanceType: "p5.48xlarge", Labels: map[string]string{"tier": "a"}, PriceMicrosPerHour: 12_500_000,
			Version: "v1.0.0", Capacity: &v1.Resources{CpuMillis: 64_000, MemoryBytes: 256 << 30, Gpus: 8, DiskBytes: 1 << 40}}}
	m := &member{
		list: func(r *v1.ListTasksRequest) (*v1.ListTasksResponse, error) {
			res := &v1.ListTasksResponse{}
			for _, task := range tasks {
				if len(r.GetStatuses()) == 0 || slices.Contains(r.GetStatuses(), task.GetStatus()) {
					listed := proto.CloneOf(task)
					if listed.GetExec() != nil { // lists come without inputs
						listed.Work = &v1.Task_Exec{Exec: &v1.ExecTask{}}
					}
					res.Tasks = append(res.Tasks, listed)
				}
			}
			return res, nil
		},
		get: func(r *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, task := range tasks {
				if task.GetId() == r.GetId() {
					return &v1.GetTaskResponse{Task: task}, nil
				}
			}
			return nil, refusal(connect.CodeNotFound, "there is no task "+r.GetId())
		},
		listNodes: func(r *v1.ListNodesRequest) (*v1.ListNodesResponse, error) {
			if slices.Contains(r.GetStatuses(), v1.NodeStatus_NODE_STATUS_UNHEALTHY) {
				return &v1.ListNodesResponse{Nodes: []*v1.Node{{Id: "gone", Status: v1.NodeStatus_NODE_STATUS_UNHEALTHY, Schedulable: true}}}, nil
			}
			return &v1.ListNodesResponse{Nodes: []*v1.Node{node}}, nil
		},
		removeNode: func(r *v1.RemoveNodeRequest) (*v1.RemoveNodeResponse, error) {
			switch r.GetId() {
			case "gone", "gone-too":
				return &v1.RemoveNodeResponse{}, nil
			case "n1":
				return nil, refusal(connect.CodeFailedPrecondition, "node n1 is heard: stop its worker")
			case "busy":
				return nil, refusal(connect.CodeInternal, "something broke")
			}
			return nil, refusal(connect.CodeNotFound, "there is no node "+r.GetId())
		},
		getNode: func(*v1.GetNodeRequest) (*v1.GetNodeResponse, error) { return &v1.GetNodeResponse{Node: node}, nil },
		cluster: func(*v1.GetClusterRequest) (*v1.GetClusterResponse, error) {
			return &v1.GetClusterResponse{ClusterId: "c", Leader: "a", Term: 3, AppliedIndex: 70, Version: "v1.0.0",
				Members: []*v1.Member{{Name: "a", Address: "10.0.0.1:8080", Role: v1.MemberRole_MEMBER_ROLE_LEADER, AppliedIndex: 70, Version: "v1.0.0"}}}, nil
		},
		queues: queueMember{queue: exampleQueue()},
		submitMany: func(r *v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error) {
			res := &v1.SubmitTasksResponse{}
			for i, s := range r.GetRequests() {
				t := ranExample(s.GetTask(), s.GetRequestId())
				if why := refusals[t.GetName()]; why != "" {
					why = strings.ReplaceAll(why, "requests[N]", fmt.Sprintf("requests[%d]", i))
					res.Outcomes = append(res.Outcomes, &v1.SubmitTaskOutcome{Outcome: &v1.SubmitTaskOutcome_Error{Error: &v1.ItemError{Code: "already_exists", Message: why}}})
					continue
				}
				mu.Lock()
				tasks = append(tasks, t)
				mu.Unlock()
				res.Outcomes = append(res.Outcomes, &v1.SubmitTaskOutcome{Outcome: &v1.SubmitTaskOutcome_Task{Task: t}})
			}
			return res, nil
		},
		submit: func(r *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
			return &v1.SubmitTaskResponse{Task: r.GetTask()}, nil
		},
	}
	return m.start(t)
}

// TestMain keeps the tests from the contexts of whoever runs them.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "raft-node-test-")
	if err != nil {
		panic(err)
	}
	must(os.Setenv("XDG_CONFIG_HOME", dir))
	code := m.Run()
	must(os.RemoveAll(dir))
	os.Exit(code)
}

// ranExample is a task that was submitted in a batch and has ended: well, unless
// its command has the word bad. Its output is what it was told.
func ranExample(t *v1.Task, requestID string) *v1.Task {
	t = proto.CloneOf(t)
	if t.GetId() == "" {
		t.Id = "task-of-" + strings.ReplaceAll(requestID, "/", "-")
	}
	e := t.GetExec()
	t.Status, t.Attempt = v1.TaskStatus_TASK_STATUS_COMPLETED, 1
	t.LogTail = fmt.Sprintf("%s index=%s item=%s\n", strings.Join(e.GetCommand(), " "), e.GetEnv()[arrayIndexEnv], e.GetEnv()[arrayItemEnv])
	t.Result = t.GetFunction().GetPayload()
	if t.GetFunction() != nil {
		t.LogTail = ""
	}
	if strings.Contains(t.GetLogTail(), "bad") {
		code := int32(3)
		t.Status, t.ExitCode = v1.TaskStatus_TASK_STATUS_FAILED, &code
	}
	return t
}

func TestWatchShowsWhatChanges(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	events := make(chan *v1.Event)
	reads := 0
	m := exampleMember(t)
	m.events = func(ctx context.Context, _ *v1.WatchEventsRequest, s *connect.ServerStream[v1.WatchEventsResponse]) error {
		if err := s.Send(&v1.WatchEventsResponse{Cursor: "1"}); err != nil {
			return err
		}
		for {
			select {
			case e := <-events:
				if err := s.Send(&v1.WatchEventsResponse{Cursor: "2", Event: e}); err != nil {
					return err
				}
			case <-ctx.Done():
				return nil
			}
		}
	}
	list := m.list
	m.list = func(r *v1.ListTasksRequest) (*v1.ListTasksResponse, error) {
		res, err := list(r)
		switch reads++; reads {
		case 1: // what has not changed is not printed again
			go func() { events <- &v1.Event{Type: v1.EventType_EVENT_TYPE_TASK_COMPLETED} }()
		case 2:
			go func() { events <- &v1.Event{Type: v1.EventType_EVENT_TYPE_TASK_COMPLETED} }()
		case 3:
			res.GetTasks()[0].Status = v1.TaskStatus_TASK_STATUS_COMPLETED
			go func() { events <- &v1.Event{Type: v1.EventType_EVENT_TYPE_TASK_COMPLETED} }()
		case 4:
			stop()
		}
		return res, err
	}
	r := cliWith(ctx, "", "--server", m.url, "task", "list", "--watch", "-o", "name")
	if r.code != 0 || r.out != "t2\nt1\nt2\n" {
		t.Errorf("exit code %d, output %q, want each task once and the changed one again\n%s", r.code, r.out, r.err)
	}
}

func TestWatchOfATaskEndsWithIt(t *testing.T) {
	m := exampleMember(t)
	m.at(t, "task", "get", "t1", "--watch").expect(t, 0, []string{"Status:"}, nil)
}

func TestPicturesFitTheScreen(t *testing.T) {
	var b strings.Builder
	s := &screen{out: &b, size: func() (int, int) { return 5, 3 }}
	s.draw([]byte("\x1b[1mabcdefg\x1b[0m\nx\ny\nz\n"))
	want := "\x1b[H\x1b[1mabcde\x1b[0m\x1b[0m\x1b[K\r\nx\x1b[K\r\n… 2 l\x1b[K\x1b[J"
	if b.String() != want {
		t.Errorf("drawn %q\nwant  %q", b.String(), want)
	}
}

func TestColoursStandForStatuses(t *testing.T) {
	m := exampleMember(t)
	res, err := m.list(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := settled(t, "agent")
	table := string(renderTable(func(w io.Writer) { a.taskTable(w, res.GetTasks()) }, true))
	if !strings.Contains(table, cyan+"RUNNING"+reset) || strings.Count(table, red+"FAILED"+reset) != 1 {
		t.Errorf("colours are not where the statuses are: %q", table)
	}
}
