package client

import (
	"testing"

	"github.com/google/uuid"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func TestKeysDifferInAllTheirBytes(t *testing.T) {
	const keys = 1000
	var seen [16]map[byte]bool
	for i := range seen {
		seen[i] = map[byte]bool{}
	}
	all := map[uuid.UUID]bool{}
	for range keys {
		req := &v1.SubmitTaskRequest{Task: &v1.Task{}}
		if err := giveKey(req); err != nil {
			t.Fatal(err)
		}
		id, err := uuid.Parse(req.GetTask().GetId())
		if err != nil || id.Version() != 7 || all[id] {
			t.Fatalf("%s, of version %d: %v", id, id.Version(), err)
		}
		all[id] = true
		for i, b := range id {
			seen[i][b] = true
		}
	}
	for i, b := range seen {
		if i >= 8 && len(b) < 60 { // before are the time and a counter; of byte 8 six bits are left to chance
			t.Errorf("byte %d has %d values in %d keys", i, len(b), keys)
		}
	}
}
