package main

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// queueMember answers every call about queues with the queue that it has.
type queueMember struct {
	queue *v1.Queue
	asked []proto.Message
}

func (m *queueMember) ask(req proto.Message) *v1.Queue {
	m.asked = append(m.asked, req)
	return m.queue
}

func (m *member) CreateQueue(_ context.Context, req *connect.Request[v1.CreateQueueRequest]) (*connect.Response[v1.CreateQueueResponse], error) {
	return connect.NewResponse(&v1.CreateQueueResponse{Queue: m.queues.ask(req.Msg)}), nil
}

func (m *member) UpdateQueue(_ context.Context, req *connect.Request[v1.UpdateQueueRequest]) (*connect.Response[v1.UpdateQueueResponse], error) {
	return connect.NewResponse(&v1.UpdateQueueResponse{Queue: m.queues.ask(req.Msg)}), nil
}

func (m *member) PauseQueue(_ context.Context, req *connect.Request[v1.PauseQueueRequest]) (*connect.Response[v1.PauseQueueResponse], error) {
	return connect.NewResponse(&v1.PauseQueueResponse{Queue: m.queues.ask(req.Msg)}), nil
}

func (m *member) ResumeQueue(_ context.Context, req *connect.Request[v1.ResumeQueueRequest]) (*connect.Response[v1.ResumeQueueResponse], error) {
	return connect.NewResponse(&v1.ResumeQueueResponse{Queue: m.queues.ask(req.Msg)}), nil
}

func (m *member) DeleteQueue(_ context.Context, req *connect.Request[v1.DeleteQueueRequest]) (*connect.Response[v1.DeleteQueueResponse], error) {
	m.queues.ask(req.Msg)
	return connect.NewResponse(&v1.DeleteQueueResponse{}), nil
}

func (m *member) GetQueue(_ context.Context, req *connect.Request[v1.GetQueueRequest]) (*connect.Response[v1.GetQueueResponse], error) {
	return connect.NewResponse(&v1.GetQueueResponse{Queue: m.queues.ask(req.Msg)}), nil
}

func (m *member) ListQueues(_ context.Context, req *connect.Request[v1.ListQueuesRequest]) (*connect.Response[v1.ListQueuesResponse], error) {
	q := m.queues.ask(req.Msg)
	return connect.NewResponse(&v1.ListQueuesResponse{Queues: []*v1.Queue{{Name: "other", Weight: 1, Implicit: true}, q}}), nil
}

func exampleQueue() *v1.Queue {
	tasks, memory := int32(8), int64(64<<30)
	return &v1.Queue{Name: "train", Weight: 3, Paused: true, Limits: &v1.QueueLimits{Tasks: &tasks, MemoryBytes: &memory, DiskBytes: &memory, Custom: map[string]int64{"seat": 0, "license": 4}}, Placement: v1.Placement_PLACEMENT_BINPACK,
		AgeingInterval: durationpb.New(time.Minute), PendingTasks: 5, RunningTasks: 2, Used: &v1.Resources{CpuMillis: 1500, MemoryBytes: 1 << 30, Gpus: 1},
		DominantShareMillionths: 123_400}
}

func TestQueueShows(t *testing.T) {
	m := (&member{queues: queueMember{queue: exampleQueue()}}).start(t)
	m.at(t, "queue", "list").squeezed().expect(t, 0, []string{
		"QUEUE WEIGHT SHARE WAITING RUNNING CPU MEMORY GPUS PLACEMENT DETAIL\n",
		"\ntrain 3 12.3% 5 2/8 1.5 1GiB/64GiB 1 BINPACK paused\n", "other 1 0.0% 0 0 0 0B 0", "no settings\n"}, nil)
	m.at(t, "queue", "show", "train").squeezed().expect(t, 0, []string{
		"State: paused\n", "Weight: 3\n", "Limits: 8 tasks, 64GiB memory, 64GiB disk, 4 license, 0 seat\n", "Reserved: 1.5 CPU, 1GiB memory, 1 GPU\n", "Ageing: one priority in 1m0s\n"}, nil)
	m.at(t, "queue", "show", "train", "-o", "json").expect(t, 0, []string{`"weight": 3`, `"pendingTasks": "5"`}, nil)
	m.at(t, "queue", "pause", "train").expect(t, 0, []string{"train: paused, 5 tasks wait\n"}, nil)
	m.at(t, "queue", "resume", "train").expect(t, 0, []string{"train: open\n"}, nil)
	m.at(t, "queue", "delete", "train").expect(t, 0, []string{"train: its settings are gone\n"}, nil)
}

func TestQueueSettings(t *testing.T) {
	m := (&member{queues: queueMember{queue: exampleQueue()}}).start(t)
	m.at(t, "queue", "create", "q", "--weight", "3", "--max-gpus", "0", "--max-cpu", "1.5", "--placement", "cheapest", "--ageing", "1m",
		"--max-disk", "2GiB", "--max-resource", "license=4", "--max-resource", "seat=0").expect(t, 0, []string{"train"}, nil)
	m.at(t, "queue", "update", "q", "--max-tasks", "none", "--max-memory", "2GiB", "--paused=false", "--max-resource", "none", "--max-disk", "none").expect(t, 0, nil, nil)
	none, cpu, memory := int32(0), int64(1500), int64(2<<30)
	want := []proto.Message{
		&v1.CreateQueueRequest{Queue: &v1.Queue{Name: "q", Weight: 3, Limits: &v1.QueueLimits{Gpus: &none, CpuMillis: &cpu, DiskBytes: &memory, Custom: map[string]int64{"license": 4, "seat": 0}}, Placement: v1.Placement_PLACEMENT_CHEAPEST, AgeingInterval: durationpb.New(time.Minute)}},
		&v1.UpdateQueueRequest{Queue: &v1.Queue{Name: "q", Limits: &v1.QueueLimits{MemoryBytes: &memory}},
			Fields: []v1.QueueField{v1.QueueField_QUEUE_FIELD_PAUSED, v1.QueueField_QUEUE_FIELD_LIMIT_TASKS, v1.QueueField_QUEUE_FIELD_LIMIT_MEMORY,
				v1.QueueField_QUEUE_FIELD_LIMIT_DISK, v1.QueueField_QUEUE_FIELD_LIMIT_CUSTOM}},
	}
	for i, w := range want {
		if i >= len(m.queues.asked) || !proto.Equal(m.queues.asked[i], w) {
			t.Errorf("request %d is not\n%v\nall: %v", i, w, m.queues.asked)
		}
	}
}

func TestQueueMistakes(t *testing.T) {
	m := (&member{queues: queueMember{queue: exampleQueue()}}).start(t)
	m.at(t, "queue", "create", "q", "--weight", "0", "--max-gpus", "-1", "--max-cpu", "many", "--placement", "random", "--max-resource", "license").expect(t, 2, nil, []string{
		"--weight: is 0: give 1 to 1000", `--max-gpus: "-1": give a whole number; or none`, `--max-cpu: "many"`, `--placement: "random": give spread, binpack, cheapest`, "--max-resource: "})
	m.at(t, "queue", "update", "q").expect(t, 2, nil, []string{"nothing to change: give a flag"})
	if len(m.queues.asked) > 0 {
		t.Errorf("mistakes were sent: %v", m.queues.asked)
	}
}

func TestSubmitWhenAndHowOften(t *testing.T) {
	var got *v1.SubmitTaskRequest
	m := (&member{submit: func(r *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
		got = r
		return &v1.SubmitTaskResponse{Task: &v1.Task{Id: "t"}}, nil
	}}).start(t)
	m.at(t, "submit", "--delay", "10m", "--queue-timeout", "1h", "--no-progress-timeout", "90s", "--retry-backoff", "3s", "--retry-jitter", "0", "--retry-exit-codes", "1,75",
		"--concurrency-key", "k", "--max-concurrency", "2", "--id", "t", "--", "true").expect(t, 0, nil, nil)
	jitter := 0.0
	want := &v1.Task{Id: "t", MaxAttempts: 1, Resources: &v1.Resources{}, Work: &v1.Task_Exec{Exec: &v1.ExecTask{Command: []string{"true"}}},
		StartDelay: durationpb.New(10 * time.Minute), QueueTimeout: durationpb.New(time.Hour), NoProgressTimeout: durationpb.New(90 * time.Second), ConcurrencyKey: "k", MaxConcurrency: 2,
		RetryPolicy: &v1.RetryPolicy{InitialBackoff: durationpb.New(3 * time.Second), Jitter: &jitter, ExitCodes: []int32{1, 75}}}
	if !proto.Equal(got.GetTask(), want) {
		t.Errorf("sent %v, want %v", got.GetTask(), want)
	}
	m.at(t, "submit", "--not-before", "2030-01-31T06:00:00+01:00", "--", "true").expect(t, 0, nil, nil)
	if at := got.GetTask().GetEarliestStartTime().AsTime(); !at.Equal(time.Date(2030, 1, 31, 5, 0, 0, 0, time.UTC)) {
		t.Errorf("not before %s", at)
	}
	m.at(t, "submit", "--delay", "1s", "--not-before", "tomorrow", "--max-concurrency", "2", "--", "true").expect(t, 2, nil, []string{
		"--not-before: \"tomorrow\": give a time with its zone", "--delay and --not-before exclude each other", "--max-concurrency: belongs to --concurrency-key"})
}
