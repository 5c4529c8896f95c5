package db

import (
	"context"

	"github.com/raft-control-plane/control-plane"
)

var sqlSchemaPresent = query("schema_present")

// HasSchema reports whether this member's state has its tables. The first leader
// makes them; before that no read can be answered.
func (m *TaskManifest) HasSchema(ctx context.Context) (there bool, err error) {
	err = m.readNow(ctx, func(c Conn) error {
		return each(c, sqlSchemaPresent, func(Cursor) { there = true })
	})
	return there, err
}

// CaughtUp returns nil if a leader answers and this member has applied all that
// was committed when it was asked, and can write: the member can be sent calls.
func (m *TaskManifest) CaughtUp(ctx context.Context) error {
	if full := m.engine.Disk().Full; full != nil {
		return full
	}
	there := false
	_, err := m.engine.Read(ctx, ReadOptions{}, func(c Conn) error {
		return each(c, sqlSchemaPresent, func(Cursor) { there = true })
	})
	if err == nil && !there {
		err = controlplane.Errorf(controlplane.CodeUnavailable, "the first leader is still making the tables")
	}
	return err
}
