package client_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/raft-control-plane/control-plane/client"
	"github.com/raft-control-plane/control-plane/clienttest"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// BenchmarkHeartbeat is 512 nodes, 64 to a connection, that do nothing but renew their leases,
// each again once it has its answer. How long that takes is a matter of how long renewals
// wait for each other; look at the CPU time, of nodes and member together.
func BenchmarkHeartbeat(b *testing.B) {
	const nodes, perClient = 512, 64
	p := clienttest.New(b)
	clients := make([]*client.Client, nodes/perClient)
	for i := range clients {
		c, err := client.New(p.Client.Servers())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		clients[i] = c
	}
	beat := func(i int, spec *v1.NodeSpec) {
		name := fmt.Sprintf("n%d", i)
		if _, err := clients[i/perClient].Heartbeat(context.Background(), &v1.HeartbeatRequest{NodeId: name, SessionId: name, Spec: spec}); err != nil {
			b.Error(err)
		}
	}
	for i := range nodes {
		beat(i, &v1.NodeSpec{Slots: 1, Functions: []string{"f"}})
	}
	b.ReportAllocs()
	b.ResetTimer()
	used := cpuTime(b)
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() {
			for range (b.N + nodes - 1 - i) / nodes {
				beat(i, nil)
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/float64(b.N), "cpu-us/op")
}
