package client_test

import (
	"context"
	"testing"

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
	req := &v1.GetTaskRequest{Id: res.GetTask().GetId()}
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.Client.GetTask(context.Background(), req); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
}
