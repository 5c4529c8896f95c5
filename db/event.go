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

// Events returns changes after a cursor, in order, from this member's state: at
// least limit if there are as many, and always all of an entry.
func (m *TaskManifest) Events(ctx context.Context, after EventCursor, limit int) (events []controlplane.TaskEvent, err error) {
	err = m.readNow(ctx, func(c Conn) error {
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
		return attachTasks(c, events)
	})
	return events, err
}

func appendEvents(events []controlplane.TaskEvent, r Cursor, after EventCursor) ([]controlplane.TaskEvent, error) {
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

var statusOfKind = map[string]controlplane.TaskStatus{
	"S": controlplane.TaskPending, "Q": controlplane.TaskPending, "A": controlplane.TaskAssigned, "R": controlplane.TaskRunning,
	"K": controlplane.TaskRunning, "C": controlplane.TaskCompleted, "F": controlplane.TaskFailed, "X": controlplane.TaskCancelled,
}

// parseChange reads [kind, seq, attempt, node, reason].
func parseChange(ch []any) (e controlplane.TaskEvent) {
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
	e.Status, e.Seq, e.Attempt = statusOfKind[kind], int64(seq), int32(attempt)
	return e
}

func attachTasks(c Conn, events []controlplane.TaskEvent) error {
	if len(events) == 0 {
		return nil
	}
	seqs := make([]int64, 0, len(events))
	for i := range events {
		seqs = append(seqs, events[i].Seq)
	}
	tasks, err := collect(c, scanTask, sqlEventTasks, jsonValue(seqs))
	if err != nil {
		return err
	}
	bySeq := make(map[int64]*controlplane.Task, len(tasks))
	for _, t := range tasks {
		bySeq[t.Seq] = t
	}
	for i := range events {
		if t := bySeq[events[i].Seq]; t != nil {
			events[i].Task, events[i].TaskID = t, t.ID
		}
	}
	return nil
}

// LastCursor points behind the newest change in this member's state.
func (m *TaskManifest) LastCursor(ctx context.Context) (last EventCursor, err error) {
	err = m.readNow(ctx, func(c Conn) error {
		return each(c, sqlEventLast, func(r Cursor) {
			last = EventCursor{Index: uint64(r.Int(0)), Ordinal: int(r.Int(1))}
		})
	})
	return last, err
}
