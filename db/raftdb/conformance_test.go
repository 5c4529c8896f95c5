package raftdb

import (
	"testing"

	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/db/dbtest"
)

// TestConformance runs the suite of db.Engine on a cluster of one, which needs no
// peers and so no server.
func TestConformance(t *testing.T) {
	dbtest.Run(t, func(t *testing.T) db.Engine {
		m := newMember(t, "solo")
		engine, err := Open(m.cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := engine.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return engine
	})
}
