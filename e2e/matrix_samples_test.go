package e2e

import (
	"fmt"
	"testing"

	"github.com/raft-control-plane/control-plane/internal/testport"
)

// sample is a call of a method: the request in JSON, and what the answer must hold.
// $ID stands for an id that no other call has, $LEADER and $ADDRESS for the name and
// the address of the member that leads.
type sample struct {
	// prepare makes what the call is about, if that is used up by it.
	prepare  func(c *cluster, member, id string) error
	in, want string
}

const removeNode = "NodeService/RemoveNode"

// matrixSamples has one sample for each method of the contract.
var matrixSamples = map[string]sample{
	"ClusterService/GetCluster": {in: `{}`, want: `"role":"MEMBER_ROLE_LEADER"`},
	"ClusterService/JoinMember": {in: `{"address":"$ADDRESS"}`, want: `"name":"$LEADER"`},
	"ClusterService/RemoveMember": {
		prepare: joinAndDie,
		in:      `{"name":"$ID"}`,
		want:    `{}`,
	},
	"ClusterService/PromoteMember":      {in: `{"name":"$LEADER"}`, want: `{}`},
	"ClusterService/TransferLeadership": {in: `{"name":"$LEADER"}`, want: `{"leader":"$LEADER"}`},
	"ClusterService/Snapshot":           {in: `{"name":"$LEADER"}`, want: `{"name":"$LEADER","index":"`},
	"ClusterService/Verify":             {in: `{}`, want: `"equal":true`},
	"ClusterService/Backup":             {in: `{}`, want: `"sha256":"`},

	"EventService/ListEvents":  {in: `{"cursor":"0"}`, want: `"type":"EVENT_TYPE_TASK_SUBMITTED"`},
	"EventService/WatchEvents": {in: `{"cursor":"0"}`, want: `"type":"EVENT_TYPE_TASK_SUBMITTED"`},

	"NodeService/GetNode":      {in: `{"id":"seed"}`, want: `"id":"seed"`},
	"NodeService/ListNodes":    {in: `{}`, want: `"id":"seed"`},
	"NodeService/CordonNode":   {prepare: registerAndSubmit, in: `{"id":"$ID"}`, want: `"id":"$ID"`},
	"NodeService/UncordonNode": {prepare: registerAndSubmit, in: `{"id":"$ID"}`, want: `"schedulable":true`},
	"NodeService/DrainNode":    {prepare: registerAndSubmit, in: `{"id":"$ID","deadline":"60s"}`, want: `"drain":{"startTime"`},
	removeNode:                 {prepare: awaitGone, in: `{"id":"$ID"}`, want: `{}`},
	"NodeService/Heartbeat": {
		in:   `{"nodeId":"$ID","sessionId":"s","spec":{"slots":1,"functions":["none"]},"held":[{"taskId":"$ID","attempt":1,"progress":{"done":"3"}}]}`,
		want: `"reason":"not_yours"`,
	},
	"NodeService/PollTask": {
		prepare: registerAndSubmit,
		in:      `{"nodeId":"$ID","sessionId":"s","wait":"20s","heldComplete":true}`,
		want:    `"id":"$ID"`,
	},
	"NodeService/ReportTaskResult": {
		prepare: runOnNode,
		in:      `{"taskId":"$ID","attempt":1,"nodeId":"$ID","sessionId":"s","status":"TASK_STATUS_COMPLETED","progress":{"done":"3","total":"50","message":"épochs"}}`,
		want:    `{"status":"TASK_STATUS_COMPLETED"}`,
	},
	"NodeService/ReportTaskResults": {
		prepare: runOnNode,
		in:      `{"nodeId":"$ID","sessionId":"s","results":[{"taskId":"$ID","attempt":1,"status":"TASK_STATUS_COMPLETED"}]}`,
		want:    `"outcomes":[{"status":"TASK_STATUS_COMPLETED"}]`,
	},

	"LogService/PushLogs": {
		prepare: runOnNode,
		in:      `{"nodeId":"$ID","sessionId":"s","chunks":[{"taskId":"$ID","attempt":1,"text":"hello\n"}]}`,
		want:    `"outcomes":[{"nextOffset":"6"}]`,
	},
	"LogService/ReadLog": {prepare: printOnNode, in: `{"taskId":"$ID","attempt":1,"wait":"20s"}`, want: `"text":"hello\n"`},
	"LogService/TailLog": {prepare: printOnNode, in: `{"taskId":"$ID","attempt":1}`, want: `"text":"hello\n"`},

	"QueryService/Query": {in: `{"sql":"SELECT id FROM tasks WHERE id = ?1","params":["seed"]}`, want: `"rows":[["seed"]]`},

	"QueueService/CreateQueue": {in: `{"queue":{"name":"$ID","weight":3}}`, want: `"weight":3`},
	"QueueService/UpdateQueue": {prepare: createQueue, in: `{"queue":{"name":"$ID","weight":5},"fields":["QUEUE_FIELD_WEIGHT"]}`, want: `"weight":5`},
	"QueueService/PauseQueue":  {prepare: createQueue, in: `{"name":"$ID"}`, want: `"paused":true`},
	"QueueService/ResumeQueue": {prepare: createQueue, in: `{"name":"$ID"}`, want: `"name":"$ID"`},
	"QueueService/DeleteQueue": {prepare: createQueue, in: `{"name":"$ID"}`, want: `{}`},
	"QueueService/GetQueue":    {in: `{"name":"default"}`, want: `"name":"default"`},
	"QueueService/ListQueues":  {in: `{}`, want: `{"queues":[{"name":"`},

	"TaskService/CancelTasks": {
		prepare: submitNamed,
		in:      `{"name":"$ID"}`,
		want:    `"cancelled":1`,
	},
	"TaskService/RetryTask": {
		prepare: submitAndCancel,
		in:      `{"id":"$ID"}`,
		want:    `"status":"TASK_STATUS_PENDING"`,
	},
	"TaskService/CancelTask": {
		prepare: submitFunction,
		in:      `{"id":"$ID"}`,
		want:    `"status":"TASK_STATUS_CANCELLED"`,
	},
	"TaskService/ExplainTask": {prepare: submitFunction, in: `{"id":"$ID"}`, want: `"status":"TASK_STATUS_PENDING"`},
	"TaskService/GetTask":     {in: `{"id":"seed"}`, want: `"id":"seed"`},
	"TaskService/GetTasks":    {in: `{"ids":["seed","nobody"]}`, want: `{"outcomes":[{"task":{"id":"seed"`},
	"TaskService/ListTasks":   {in: `{"name":"seed"}`, want: `{"tasks":[{"id":"seed"`},
	"TaskService/SubmitTask":  {in: `{"task":{"id":"$ID","function":{"name":"none-runs-this"}}}`, want: `{"task":{"id":"$ID"`},
	"TaskService/SubmitTasks": {in: `{"requests":[{"task":{"id":"$ID","function":{"name":"none-runs-this"}}}]}`, want: `{"outcomes":[{"task":{"id":"$ID"`},
	"TaskService/WatchTasks":  {in: `{"cursor":"0","taskIds":["seed"]}`, want: `"taskId":"seed"`},
}

// seedMatrix makes what reads are about.
func seedMatrix(t *testing.T, wires []*wire) {
	t.Helper()
	seeded := map[*cluster]bool{}
	for _, w := range wires {
		for _, p := range matrixProtocols() { // nodes that are gone when they are to be removed
			w.c.call(w.member, "NodeService/Heartbeat", m{"nodeId": cellID(removeNode, p, w), "sessionId": "s", "spec": m{"slots": 1, "functions": []string{"none"}}}, &m{})
		}
		if seeded[w.c] {
			continue
		}
		seeded[w.c] = true
		w.c.call(w.member, "NodeService/Heartbeat", m{"nodeId": "seed", "sessionId": "s", "spec": m{"slots": 1}}, &m{})
		w.c.call(w.member, "TaskService/SubmitTask", m{"task": m{"id": "seed", "name": "seed", "function": m{"name": "none-runs-this"}}}, &m{})
	}
}

// awaitGone waits until the lease of a node that seedMatrix registered has lapsed.
func awaitGone(c *cluster, member, id string) error {
	until(c.t, "the lease of "+id+" has lapsed", func() bool {
		var a struct{ Node struct{ Status string } }
		return c.try(member, "NodeService/GetNode", m{"id": id}, &a) == nil && a.Node.Status == "NODE_STATUS_UNHEALTHY"
	})
	return nil
}

// submitFunction stores a task that only a node of the same id can run.
func submitFunction(c *cluster, member, id string) error {
	return c.try(member, "TaskService/SubmitTask", m{"task": m{"id": id, "function": m{"name": id}}}, &m{})
}

// joinAndDie leaves a dead member.
func joinAndDie(c *cluster, member, id string) error {
	p := c.member(id, testport.Address(c.t), "--join", c.join()).start()
	defer p.kill()
	until(c.t, "member "+id+" has joined", func() bool {
		var a struct{ Members []struct{ Name string } }
		if c.try(member, "ClusterService/GetCluster", m{}, &a) != nil {
			return false
		}
		for _, m := range a.Members {
			if m.Name == id {
				return true
			}
		}
		return false
	})
	return nil
}

func submitNamed(c *cluster, member, id string) error {
	return c.try(member, "TaskService/SubmitTask", m{"task": m{"name": id, "function": m{"name": id}}}, &m{})
}

func submitAndCancel(c *cluster, member, id string) error {
	if err := submitFunction(c, member, id); err != nil {
		return err
	}
	return c.try(member, "TaskService/CancelTask", m{"id": id}, &m{})
}

func createQueue(c *cluster, member, id string) error {
	return c.try(member, "QueueService/CreateQueue", m{"queue": m{"name": id}}, &m{})
}

func registerAndSubmit(c *cluster, member, id string) error {
	spec := m{"slots": 1, "functions": []string{id}}
	if err := c.try(member, "NodeService/Heartbeat", m{"nodeId": id, "sessionId": "s", "spec": spec}, &m{}); err != nil {
		return err
	}
	return submitFunction(c, member, id)
}

// printOnNode leaves a running task that has printed something.
func printOnNode(c *cluster, member, id string) error {
	if err := runOnNode(c, member, id); err != nil {
		return err
	}
	return c.try(member, "LogService/PushLogs", m{"nodeId": id, "sessionId": "s", "chunks": []m{{"taskId": id, "attempt": 1, "text": "hello\n"}}}, &m{})
}

// runOnNode leaves the task running on the node.
func runOnNode(c *cluster, member, id string) error {
	if err := registerAndSubmit(c, member, id); err != nil {
		return err
	}
	var got struct{ Tasks []task }
	err := c.try(member, "NodeService/PollTask", m{"nodeId": id, "sessionId": "s", "wait": "20s", "heldComplete": true}, &got)
	if err == nil && len(got.Tasks) != 1 {
		err = fmt.Errorf("the poll gave %d tasks, want 1", len(got.Tasks))
	}
	return err
}
