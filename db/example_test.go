package db_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/db/raftdb"
)

// start opens a cluster of one in a fresh directory and leads it until stop is
// called.
func start() (_ *db.TaskManifest, stop func()) {
	dir, err := os.MkdirTemp("", "manifest")
	if err != nil {
		log.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	engine, err := raftdb.Open(raftdb.Config{
		Dir: dir, Name: "m1", Advertise: "127.0.0.1:1", Logger: quiet, // no peers, so nobody dials it
		Timing: raftdb.Timing{Heartbeat: 100 * time.Millisecond},
	})
	if err != nil {
		log.Fatal(err)
	}
	tasks := db.NewTaskManifest(engine)
	tasks.SetLogger(quiet)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := tasks.Run(ctx); err != nil {
			log.Fatal(err)
		}
	}()
	if err := tasks.AwaitWritable(ctx); err != nil {
		log.Fatal(err)
	}
	return tasks, func() {
		cancel()
		<-done
		if err := errors.Join(engine.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

// must ends the example on an error.
func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// hello stores a task and a node that can run it.
func hello(ctx context.Context, tasks *db.TaskManifest) {
	_, err := tasks.AddTask(ctx, &controlplane.Task{ID: "hello", Exec: &controlplane.Exec{Command: []string{"echo", "hello"}}})
	must(err)
	must(tasks.RegisterNode(ctx, "worker-1", "session-1", controlplane.NodeSpec{
		Slots: 2, Exec: true, Capacity: controlplane.Resources{CPUMillis: 4000, MemoryBytes: 8 << 30},
	}))
}

// A manifest stands on an engine. Run leads whenever this member is elected, and
// AwaitWritable waits for that.
func ExampleNewTaskManifest() {
	dir, err := os.MkdirTemp("", "manifest")
	must(err)
	engine, err := raftdb.Open(raftdb.Config{Dir: dir, Name: "m1", Advertise: "127.0.0.1:1", Logger: slog.New(slog.DiscardHandler)})
	must(err)

	tasks := db.NewTaskManifest(engine)
	tasks.SetLogger(slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- tasks.Run(ctx) }()
	must(tasks.AwaitWritable(ctx))
	fmt.Println("ready")
	stop()
	must(errors.Join(<-ran, engine.Close(), os.RemoveAll(dir)))
	// Output: ready
}

func ExampleTaskManifest_AddTask() {
	tasks, stop := start()
	defer stop()
	ctx := context.Background()

	train := &controlplane.Task{
		ID:        "train-7", // a UUIDv7 if left out
		Exec:      &controlplane.Exec{Command: []string{"python3", "train.py"}},
		Resources: controlplane.Resources{CPUMillis: 2000, MemoryBytes: 4 << 30},
	}
	t, err := tasks.AddTask(ctx, train)
	must(err)
	fmt.Println(t.ID, t.Status, t.Queue)

	// A repeat is the same task; another one under its id is refused.
	_, err = tasks.AddTask(ctx, train)
	fmt.Println(err)
	train.Priority = 9
	_, err = tasks.AddTask(ctx, train)
	fmt.Println(err)
	// Output:
	// train-7 PENDING default
	// <nil>
	// task.id: task train-7 exists and is another one, it differs in priority: choose another id, or leave it empty
}

func ExampleTaskManifest_GetTask() {
	tasks, stop := start()
	defer stop()
	ctx := context.Background()
	hello(ctx, tasks)

	t, err := tasks.GetTask(ctx, "hello")
	must(err)
	fmt.Println(t.Exec.Command, t.Status)
	// Stale is answered from this member's own state, without asking the leader.
	_, err = tasks.GetTask(ctx, "helo", db.ReadOptions{Level: db.Stale})
	fmt.Println(controlplane.CodeOf(err))
	// Output:
	// [echo hello] PENDING
	// not_found
}

func ExampleTaskManifest_AssignTask() {
	tasks, stop := start()
	defer stop()
	ctx := context.Background()
	hello(ctx, tasks)

	must(tasks.AssignTask(ctx, "hello", "worker-1"))
	t, err := tasks.GetTask(ctx, "hello")
	must(err)
	fmt.Println(t.Status, t.NodeID, t.Attempt)
	fmt.Println(controlplane.CodeOf(tasks.AssignTask(ctx, "hello", "worker-1")))
	// Output:
	// ASSIGNED worker-1 1
	// failed_precondition
}

func ExampleTaskManifest_CompleteTask() {
	tasks, stop := start()
	defer stop()
	ctx := context.Background()
	hello(ctx, tasks)

	must(tasks.AssignTask(ctx, "hello", "worker-1"))
	must(tasks.CompleteTask(ctx, "hello", []byte(`{"said": "hello"}`)))
	t, err := tasks.GetTask(ctx, "hello")
	must(err)
	fmt.Println(t.Status, string(t.Result))
	fmt.Println(tasks.CompleteTask(ctx, "hello", nil))
	// Output:
	// COMPLETED {"said": "hello"}
	// task hello is COMPLETED, not on a node: assign it first
}

func ExampleTaskManifest_UpdateNodeHeartbeat() {
	tasks, stop := start()
	defer stop()
	ctx := context.Background()
	hello(ctx, tasks)

	must(tasks.UpdateNodeHeartbeat(ctx, "worker-1", 1500, 2<<30, 1)) // 1.5 cores, 2 GiB, one task
	n, err := tasks.GetNode(ctx, "worker-1")
	must(err)
	fmt.Println(n.Status, n.Usage.CPUMillis, n.Usage.MemoryBytes)
	fmt.Println(tasks.UpdateNodeHeartbeat(ctx, "worker-2", 0, 0, 0))
	// Output:
	// HEALTHY 1500 2147483648
	// node_id: there is no node worker-2: register it by a heartbeat with its spec
}

func ExampleTaskManifest_GetHealthyNodes() {
	tasks, stop := start()
	defer stop()
	ctx := context.Background()
	hello(ctx, tasks)

	nodes, err := tasks.GetHealthyNodes(ctx)
	must(err)
	for _, n := range nodes {
		fmt.Println(n.ID, n.Spec.Slots, "slots,", n.RunningTasks, "tasks")
	}
	// Output: worker-1 2 slots, 0 tasks
}

func ExampleTaskManifest_SelectLeastLoadedNode() {
	tasks, stop := start()
	defer stop()
	ctx := context.Background()
	hello(ctx, tasks)
	must(tasks.RegisterNode(ctx, "worker-2", "session-2", controlplane.NodeSpec{Slots: 8, Exec: true}))

	// One slot of eight is less than one of two.
	node, err := tasks.SelectLeastLoadedNode(ctx, "hello")
	must(err)
	fmt.Println(node)
	// Output: worker-2
}
