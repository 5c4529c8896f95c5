package client_test

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raft-control-plane/control-plane/client"
	"github.com/raft-control-plane/control-plane/clienttest"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// BenchmarkGet reads a task by 64 callers, with all that was acknowledged before.
func BenchmarkGet(b *testing.B) {
	p := clienttest.New(b)
	res, err := p.Client.SubmitTask(context.Background(), &v1.SubmitTaskRequest{Task: &v1.Task{Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "f", Payload: make([]byte, 256)}}}})
	if err != nil {
		b.Fatal(err)
	}
	benchmarkCalls(b, p.Client, func(ctx context.Context, c *client.Client) error {
		_, err := c.GetTask(ctx, &v1.GetTaskRequest{Id: res.GetTask().GetId()})
		return err
	})
}

// BenchmarkNothing is a call that has nothing to do: what is to be taken off BenchmarkGet to
// know what a read costs.
func BenchmarkNothing(b *testing.B) {
	benchmarkCalls(b, clienttest.New(b).Client, func(ctx context.Context, c *client.Client) error {
		_, err := c.ReportTaskResults(ctx, &v1.ReportTaskResultsRequest{NodeId: "n1", SessionId: "s"})
		return err
	})
}

func benchmarkCalls(b *testing.B, c *client.Client, call func(context.Context, *client.Client) error) {
	b.SetParallelism(32)
	used := cpuTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := call(context.Background(), c); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/float64(b.N), "cpu-us/op")
}

// cpuTime is what this process has used, client and member: it tells more than the clock
// where other programs run.
func cpuTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
