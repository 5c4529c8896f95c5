package db

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/raft-control-plane/control-plane"
)

// EventCursor points behind one change in the order of all changes; the zero value
// points before the first.
type EventCursor struct {
	Index   uint64
	Ordinal int
}

// ParseCursor reads what String wrote; "0" is the zero value.
func ParseCursor(s string) (EventCursor, error) {
	if s == "0" {
		return EventCursor{}, nil
	}
	index, ordinal, _ := strings.Cut(s, "-")
	i, err := strconv.ParseUint(index, 10, 63)
	o, err2 := strconv.ParseUint(ordinal, 10, 31)
	c := EventCursor{Index: i, Ordinal: int(o)}
	if err != nil || err2 != nil || c.String() != s {
		return EventCursor{}, controlplane.FieldErrorf("cursor", "%q is no cursor: give one that a watch returned, 0 for all changes, or none for those from now on", s)
	}
	return c, nil
}

// String renders the cursor for clients.
func (c EventCursor) String() string { return fmt.Sprintf("%d-%d", c.Index, c.Ordinal) }

// Before reports whether c is an earlier place than d.
func (c EventCursor) Before(d EventCursor) bool {
	return c.Index < d.Index || c.Index == d.Index && c.Ordinal < d.Ordinal
}

// ReasonCursorExpired is the reason of an error about a cursor after which changes
// were pruned, with these keys in its metadata.
const (
	ReasonCursorExpired = "CURSOR_EXPIRED"
	MetaOldestCursor    = "oldest_cursor"
	MetaNewestCursor    = "newest_cursor"
)

// Events returns changes after a cursor, in order, from this member's state: at
// least limit if there are as many, and always all of an entry. After the zero
// cursor come all changes that are kept; CodeOutOfRange if changes after another
// cursor were pruned.
func (m *TaskManifest) Events(ctx context.Context, after EventCursor, limit int) (events []controlplane.Event, err error) {
	err = m.readNow(ctx, func(c Conn) error {
		if err := checkKept(c, after); err != nil {
			return err
		}
		// One more than limit: all of the first entry may lie before the cursor.
		entries, err := c.Query(sqlEventList, Int(int64(after.Index)), Int(int64(limit)+1))
		if err != nil {
			return err
		}
		for len(events) < limit && entries.Next() {
			if events, err = appendEvents(events, entries, after); err != nil {
				entries.Close()
				return err
			}
		}
		if err := entries.Close(); err != nil {
			return err
		}
		if err := m.attachTasks(c, events); err != nil {
			return err
		}
		return attachNodes(c, events)
	})
	return events, err
}

// checkKept refuses a cursor after which changes were pruned.
func checkKept(c Conn, after EventCursor) error {
	if after == (EventCursor{}) {
		return nil
	}
	floor, err := oneCursor(c, sqlEventFloor)
	if err != nil || !after.Before(floor) {
		return err
	}
	newest, err := oneCursor(c, sqlEventLast)
	if err != nil {
		return err
	}
	if newest.Before(floor) {
		newest = floor
	}
	return &controlplane.Error{
		Code: controlplane.CodeOutOfRange, Field: "cursor", Reason: ReasonCursorExpired,
		Message: fmt.Sprintf("changes after %s are no longer kept: read the state anew and go on from %s, the newest change, or from %s, the oldest that is kept",
			after, newest, floor),
		Metadata: map[string]string{MetaOldestCursor: floor.String(), MetaNewestCursor: newest.String()},
	}
}

func oneCursor(c Conn, sql string) (at EventCursor, err error) {
	err = each(c, sql, func(r Cursor) {
		at = EventCursor{Index: uint64(r.Int(0)), Ordinal: int(r.Int(1))}
	})
	return at, err
}

func appendEvents(events []controlplane.Event, r Cursor, after EventCursor) ([]controlplane.Event, error) {
	index, at := uint64(r.Int(0)), fromMs(r.Int(1))
	var changes [][]any
	if err := json.Unmarshal([]byte(r.Text(2)), &changes); err != nil {
		return events, fmt.Errorf("event_log %d: %w", index, err)
	}
	for i, ch := range changes {
		if index == after.Index && i < after.Ordinal {
			continue
		}
		e := parseChange(ch)
		e.Index, e.Ordinal, e.Time = index, i+1, at
		events = append(events, e)
	}
	return events, nil
}

// kinds are the letters that stand for a change in the journal.
var kinds = map[string]struct {
	event controlplane.EventType
	task  controlplane.TaskStatus // after the change
	node  controlplane.NodeStatus
}{
	"S": {controlplane.EventTaskSubmitted, controlplane.TaskPending, ""},
	"A": {controlplane.EventTaskAssigned, controlplane.TaskAssigned, ""},
	"R": {controlplane.EventTaskStarted, controlplane.TaskRunning, ""},
	"Q": {controlplane.EventTaskRequeued, controlplane.TaskPending, ""},
	"K": {controlplane.EventTaskCancelRequested, controlplane.TaskRunning, ""},
	"C": {controlplane.EventTaskCompleted, controlplane.TaskCompleted, ""},
	"F": {controlplane.EventTaskFailed, controlplane.TaskFailed, ""},
	"X": {controlplane.EventTaskCancelled, controlplane.TaskCancelled, ""},
	"N": {controlplane.EventNodeRegistered, "", controlplane.NodeHealthy},
	"U": {controlplane.EventNodeUpdated, "", controlplane.NodeHealthy},
	"P": {controlplane.EventNodeSessionReplaced, "", controlplane.NodeHealthy},
	"E": {controlplane.EventNodeExpired, "", controlplane.NodeUnhealthy},
	"B": {controlplane.EventNodeBack, "", controlplane.NodeHealthy},
	"D": {controlplane.EventNodeRemoved, "", ""},
	"O": {controlplane.EventNodeSchedulingChanged, "", ""},
}

// parseChange reads [kind, seq, attempt, node, reason].
func parseChange(ch []any) (e controlplane.Event) {
	var kind string
	var seq, attempt float64
	text := []*string{0: &kind, 3: &e.NodeID, 4: &e.Reason}
	for i, v := range ch {
		switch v := v.(type) {
		case string:
			if i < len(text) && text[i] != nil {
				*text[i] = v
			}
		case float64:
			if i == 1 {
				seq = v
			} else {
				attempt = v
			}
		}
	}
	k := kinds[kind]
	e.Type, e.Status, e.NodeStatus = k.event, k.task, k.node
	e.Seq, e.Attempt = int64(seq), int32(attempt)
	return e
}

func (m *TaskManifest) attachTasks(c Conn, events []controlplane.Event) error {
	seqs := make([]int64, 0, len(events))
	for i := range events {
		if events[i].OfTask() {
			seqs = append(seqs, events[i].Seq)
		}
	}
	if len(seqs) == 0 {
		return nil
	}
	tasks, err := m.readTasks(c, sqlEventTasks, jsonValue(seqs))
	if err != nil {
		return err
	}
	bySeq := make(map[int64]*controlplane.Task, len(tasks))
	for _, t := range tasks {
		bySeq[t.Seq] = t
	}
	pruned := false
	for i := range events {
		e := &events[i]
		if t := bySeq[e.Seq]; t != nil {
			e.Task, e.TaskID, e.Queue = t, t.ID, t.Queue
		} else if e.OfTask() {
			pruned = true
		}
	}
	if !pruned {
		return nil
	}
	return attachPruned(c, events, seqs)
}

// attachPruned names the tasks that were deleted.
func attachPruned(c Conn, events []controlplane.Event, seqs []int64) error {
	type name struct{ id, queue string }
	names := map[int64]name{}
	err := each(c, sqlEventPrunedTasks, func(r Cursor) { names[r.Int(0)] = name{id: r.Text(1), queue: r.Text(2)} }, jsonValue(seqs))
	for i := range events {
		if n, ok := names[events[i].Seq]; ok && events[i].Task == nil {
			events[i].TaskID, events[i].Queue = n.id, n.queue
		}
	}
	return err
}

// attachNodes reads each node that changed; such changes are rare.
func attachNodes(c Conn, events []controlplane.Event) error {
	byID := map[string]*controlplane.Node{}
	for i := range events {
		e := &events[i]
		if e.OfTask() {
			continue
		}
		if _, ok := byID[e.NodeID]; !ok {
			nodes, err := collect(c, scanNode, sqlNodeGet, Str(e.NodeID))
			if err != nil {
				return err
			}
			byID[e.NodeID] = nil
			if len(nodes) == 1 {
				byID[e.NodeID] = nodes[0]
			}
		}
		e.Node = byID[e.NodeID]
	}
	return nil
}

// LastCursor points behind the newest change in this member's state.
func (m *TaskManifest) LastCursor(ctx context.Context) (last EventCursor, err error) {
	err = m.readNow(ctx, func(c Conn) (err error) {
		last, err = oneCursor(c, sqlEventLast)
		return err
	})
	return last, err
}
