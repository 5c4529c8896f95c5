package controlplane

import (
	"strings"
	"time"
)

// EventType is what happened to a task or a node. The names stand in the view
// events as they are.
type EventType string

// The types of events.
const (
	EventTaskSubmitted       EventType = "TASK_SUBMITTED"
	EventTaskAssigned        EventType = "TASK_ASSIGNED"
	EventTaskStarted         EventType = "TASK_STARTED"
	EventTaskRequeued        EventType = "TASK_REQUEUED"
	EventTaskCancelRequested EventType = "TASK_CANCEL_REQUESTED"
	EventTaskCompleted       EventType = "TASK_COMPLETED"
	EventTaskFailed          EventType = "TASK_FAILED"
	EventTaskCancelled       EventType = "TASK_CANCELLED"
	EventNodeRegistered      EventType = "NODE_REGISTERED"
	EventNodeUpdated         EventType = "NODE_UPDATED"
	EventNodeSessionReplaced EventType = "NODE_SESSION_REPLACED"
	EventNodeExpired         EventType = "NODE_EXPIRED"
	EventNodeBack            EventType = "NODE_BACK"
	// EventNodeSchedulingChanged tells by its reason how: "cordoned", "uncordoned",
	// "draining", "terminating".
	EventNodeSchedulingChanged EventType = "NODE_SCHEDULING_CHANGED"
	// EventNodeRemoved tells by its reason why: "removed", "retention".
	EventNodeRemoved EventType = "NODE_REMOVED"
)

// Event is one change of a task's or a node's state. Index and Ordinal are its
// place in the order of all changes.
type Event struct {
	Index   uint64
	Ordinal int
	Type    EventType
	Time    time.Time
	NodeID  string

	// Of a task.
	TaskID  string
	Queue   string
	Seq     int64
	Status  TaskStatus
	Attempt int32
	Reason  string
	// Task is the task as it stands now, without payload and outputs; nil if it is
	// deleted.
	Task *Task

	// Of a node.
	NodeStatus NodeStatus
	// Node is the node as it stands now; nil if it is gone.
	Node *Node
}

// OfTask reports whether a task changed, rather than a node.
func (e *Event) OfTask() bool { return !strings.HasPrefix(string(e.Type), "NODE_") }
