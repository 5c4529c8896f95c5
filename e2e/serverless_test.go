package e2e

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// stopLimit is what platforms are told: a member ends within it after SIGTERM,
// whatever its callers do.
const stopLimit = 8 * time.Second

func TestStopsInTimeWhateverCallersDo(t *testing.T) {
	c := newCluster(t, 1)
	address := c.addresses["m1"]
	c.call("m1", "NodeService/Heartbeat", m{"nodeId": "n1", "sessionId": "s1", "spec": m{"slots": 1, "exec": true}}, &struct{}{})

	polls := make(chan error, 2)
	go func() {
		polls <- c.try("m1", "NodeService/PollTask", m{"nodeId": "n1", "sessionId": "s1", "wait": "25s"}, &struct{}{})
	}()
	go func() { polls <- c.try("m1", "EventService/ListEvents", m{"wait": "25s"}, &struct{}{}) }()

	// One that sends a part of its call and then nothing.
	stuck, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	fmt.Fprintf(stuck, "POST /controlplane.v1.TaskService/GetTask HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", address)

	// A watch that has begun.
	w, err := client.New([]string{c.servers()}, client.WithPatience(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	began, watched := make(chan struct{}, 100), make(chan error, 1)
	go func() {
		watched <- w.WatchEvents(t.Context(), &v1.WatchEventsRequest{}, func(*v1.WatchEventsResponse) error {
			began <- struct{}{}
			return nil
		})
	}()
	<-began

	begun := time.Now()
	c.members["m1"].signal(syscall.SIGTERM)
	if code := c.members["m1"].wait(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	// Twice the promise, as this machine may be busy: whoever waits for a caller takes 25 s.
	if took := time.Since(begun); took > 2*stopLimit {
		t.Errorf("it took %s to end, %s are promised", took, stopLimit)
	}
	// Those who only waited were answered, or told to go elsewhere; nothing more than
	// the patience of the watch keeps it.
	<-polls
	<-polls
	if err := <-watched; err == nil {
		t.Error("a watch of nobody ended well")
	}
}

func TestReadinessFollowsTheLeader(t *testing.T) {
	c := newCluster(t, 3)
	leader, followers := c.leader()
	left := followers[0]
	ready := func() int {
		resp, err := c.client.Get(c.scheme + "://" + c.addresses[left] + "/readyz")
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	c.members[leader].kill()
	c.members[followers[1]].kill()
	until(t, "a member without a majority is not ready", func() bool { return ready() == 503 })
	c.members[leader].start()
	until(t, "it is ready again with one", func() bool { return ready() == 200 })
	if got := c.query(left, "SELECT 1"); len(got) != 1 {
		t.Errorf("a member that says it is ready answers %v", got)
	}
}
