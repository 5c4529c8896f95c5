package controlplane

// Explanation tells why a task is where it is.
type Explanation struct {
	Status  TaskStatus
	Summary string
	// Placeable says that a node and its queue would take it now.
	Placeable bool
	// NodeID is the node that it would go to, or that it is on.
	NodeID string
	// Hold is what keeps it back beside nodes, "" if nothing does.
	Hold string
	// TasksAhead are the pending tasks of its queue that come before it, with ageing
	// counted in. Other queues are not counted.
	TasksAhead int
	Nodes      int
	// Rejections are the reasons why nodes do not take it, the one of most nodes first.
	Rejections []Rejection
	// NearestNode comes closest to taking it and lacks NearestMiss; "" if there is none.
	NearestNode, NearestMiss string
}

// Rejection is a reason why nodes do not take a task.
type Rejection struct {
	Reason  string // one word
	Message string
	Nodes   int
	NodeIDs []string // some of them
}
