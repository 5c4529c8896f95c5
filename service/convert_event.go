package service

import (
	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

var eventTypeToProto = map[controlplane.EventType]v1.EventType{
	controlplane.EventTaskSubmitted:         v1.EventType_EVENT_TYPE_TASK_SUBMITTED,
	controlplane.EventTaskAssigned:          v1.EventType_EVENT_TYPE_TASK_ASSIGNED,
	controlplane.EventTaskStarted:           v1.EventType_EVENT_TYPE_TASK_STARTED,
	controlplane.EventTaskRequeued:          v1.EventType_EVENT_TYPE_TASK_REQUEUED,
	controlplane.EventTaskCancelRequested:   v1.EventType_EVENT_TYPE_TASK_CANCEL_REQUESTED,
	controlplane.EventTaskCompleted:         v1.EventType_EVENT_TYPE_TASK_COMPLETED,
	controlplane.EventTaskFailed:            v1.EventType_EVENT_TYPE_TASK_FAILED,
	controlplane.EventTaskCancelled:         v1.EventType_EVENT_TYPE_TASK_CANCELLED,
	controlplane.EventNodeRegistered:        v1.EventType_EVENT_TYPE_NODE_REGISTERED,
	controlplane.EventNodeUpdated:           v1.EventType_EVENT_TYPE_NODE_UPDATED,
	controlplane.EventNodeSessionReplaced:   v1.EventType_EVENT_TYPE_NODE_SESSION_REPLACED,
	controlplane.EventNodeExpired:           v1.EventType_EVENT_TYPE_NODE_EXPIRED,
	controlplane.EventNodeBack:              v1.EventType_EVENT_TYPE_NODE_BACK,
	controlplane.EventNodeRemoved:           v1.EventType_EVENT_TYPE_NODE_REMOVED,
	controlplane.EventNodeSchedulingChanged: v1.EventType_EVENT_TYPE_NODE_SCHEDULING_CHANGED,
}

var eventTypeFromProto = inverse(eventTypeToProto)

func eventToProto(e *controlplane.Event, cursor string) *v1.Event {
	out := &v1.Event{Cursor: cursor, Type: eventTypeToProto[e.Type], Time: timeToProto(e.Time)}
	if e.OfTask() {
		out.Subject = &v1.Event_Task{Task: taskEventToProto(e)}
		return out
	}
	node := &v1.NodeEvent{NodeId: e.NodeID, Status: nodeStatusToProto[e.NodeStatus]}
	if e.Node != nil {
		node.Node = nodeToProto(e.Node)
	}
	out.Subject = &v1.Event_Node{Node: node}
	return out
}

func taskEventToProto(e *controlplane.Event) *v1.TaskEvent {
	return &v1.TaskEvent{
		TaskId: e.TaskID, Status: taskStatusToProto[e.Status], Attempt: e.Attempt, NodeId: e.NodeID,
		Time: timeToProto(e.Time), Reason: e.Reason, Task: taskToProto(e.Task),
	}
}
