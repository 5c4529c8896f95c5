package clienttest_test

import (
	"context"
	"testing"

	"github.com/raft-control-plane/control-plane/clienttest"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func TestAControlPlaneForTests(t *testing.T) {
	a, b := clienttest.New(t), clienttest.New(t)
	_, err := a.Client.SubmitTask(t.Context(), &v1.SubmitTaskRequest{Task: &v1.Task{Id: "one", Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "f"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[*clienttest.ControlPlane]int{a: 1, b: 0} {
		res, err := p.Client.ListTasks(t.Context(), &v1.ListTasksRequest{})
		if err != nil || len(res.GetTasks()) != want {
			t.Errorf("%s holds %v, %v; want %d tasks", p.URL, res.GetTasks(), err, want)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		p, err := clienttest.Start(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
