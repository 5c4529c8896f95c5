package e2e

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/client"
)

// TestAWorkerInGoThroughARestart has one worker run 10,000 calls of a function while a
// member after the other is killed and started again, the leader among them: each call
// has its result, and none was completed twice.
func TestAWorkerInGoThroughARestart(t *testing.T) {
	const tasks = 10_000
	c := newCluster(t, 3)
	var urls []string
	for _, address := range c.addresses {
		urls = append(urls, "http://"+address)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	sdk, err := client.New(urls)
	if err != nil {
		t.Fatal(err)
	}
	defer sdk.Close()
	w := client.NewWorker(sdk, client.WorkerOptions{Name: "w1", Concurrency: 64, Logger: slog.New(slog.DiscardHandler)})
	var runs atomic.Int64
	reached := map[int64]chan struct{}{tasks / 5: make(chan struct{}), tasks / 2: make(chan struct{})}
	client.Register(w, "double", func(_ context.Context, n int) (int, error) {
		if at := reached[runs.Add(1)]; at != nil {
			close(at)
		}
		return 2 * n, nil
	})
	working, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- w.Run(working) }()

	args := make([]int, tasks)
	for i := range args {
		args[i] = i
	}
	jobs, err := client.SubmitAll[int, int](ctx, sdk, "double", args)
	if err != nil {
		t.Fatal(err)
	}
	restart := func(name string) {
		c.members[name].kill()
		c.members[name].start()
	}
	<-reached[tasks/5]
	leader, _ := c.leader()
	restart(leader)
	<-reached[tasks/2]
	_, followers := c.leader()
	restart(followers[0])

	results, err := client.Results(ctx, jobs)
	if err != nil {
		t.Fatalf("after %d results: %v", len(results), err)
	}
	for i, got := range results {
		if got != 2*i {
			t.Errorf("twice %d is %d", i, got)
		}
	}
	stop()
	if err := <-stopped; err != nil {
		t.Errorf("the worker ended by %v", err)
	}
	c.ready()
	rows := c.query(c.any(), "SELECT count(*), sum(status = 'COMPLETED'), (SELECT count(*) FROM events WHERE type = 'TASK_COMPLETED') FROM tasks")
	if got := strings.Join(rows[0], " "); got != "10000 10000 10000" {
		t.Errorf("tasks, completed, completions: %s", got)
	}
	t.Logf("the function ran %d times for %d tasks", runs.Load(), tasks)
}
