package dbtest

import (
	"context"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var leadTests = map[string]func(*testing.T, *rig){
	"the only member leads":                      testLeads,
	"another term is refused":                    testOtherTerm,
	"the clock of a term is not behind":          testTermClock,
	"what was applied is shown at once":          testAppliedIsShown,
	"waiting for an index ends when it is there": testAwaitApplied,
	"waiting ends with its context":              testAwaitEnds,
}

func testLeads(t *testing.T, r *rig) {
	if r.term.Number == 0 {
		t.Error("term 0")
	}
	select {
	case <-r.term.Done:
		t.Error("the term is over")
	default:
	}
	if err := r.engine.AwaitLeader(await(t)); err != nil {
		t.Errorf("await leader: %v", err)
	}
	address, self, ok := r.engine.Leader()
	if address == "" || !self || !ok {
		t.Errorf("leader %q, self %v, known %v", address, self, ok)
	}
	c, err := r.engine.Cluster(await(t))
	if err != nil || len(c.Members) != 1 || c.ID == "" || c.Term != r.term.Number {
		t.Fatalf("cluster %+v, %v; want one member at term %d", c, err, r.term.Number)
	}
	m := c.Members[0]
	if m.Role != controlplane.MemberLeader || m.Name != c.Leader || m.Address != address || m.AppliedIndex == 0 || m.AppliedIndex > r.engine.AppliedIndex() {
		t.Errorf("member %+v of %+v at %s, applied %d", m, c, address, r.engine.AppliedIndex())
	}
}

func testOtherTerm(t *testing.T, r *rig) {
	entry := db.Entry{Ops: []*db.Op{put(1, db.Int(1))}}
	for _, number := range []uint64{r.term.Number - 1, r.term.Number + 1} {
		_, err := r.engine.Apply(await(t), db.Term{Number: number, Done: r.term.Done}, entry.Encoded(nil))
		wantCode(t, "apply for another term", err, controlplane.CodeUnavailable)
	}
	equal(t, "pairs", r.pairs(t), "")
}

func testTermClock(t *testing.T, r *rig) {
	r.apply(t, put(1, db.Int(1)))
	term, err := r.engine.AwaitLeadership(await(t))
	if err != nil || term.Number != r.term.Number || term.ClockMs != stamp {
		t.Errorf("asked again: %+v, %v; want term %d and the clock at %d", term, err, r.term.Number, int64(stamp))
	}
}

func testAppliedIsShown(t *testing.T, r *rig) {
	last := uint64(0)
	for k := range int64(20) {
		a := r.apply(t, put(k, db.Int(k)))
		if a.Index <= last || r.engine.AppliedIndex() < a.Index {
			t.Fatalf("entry at %d after one at %d, %d is applied", a.Index, last, r.engine.AppliedIndex())
		}
		last = a.Index
		equal(t, "rows", rows(t, r.engine, "SELECT count(*) FROM pairs"), []int64{k + 1})
	}
}

func testAwaitApplied(t *testing.T, r *rig) {
	now := r.engine.AppliedIndex()
	if err := r.engine.AwaitApplied(await(t), now); err != nil {
		t.Errorf("await what is there: %v", err)
	}
	waited := make(chan error, 1)
	ctx := await(t)
	go func() { waited <- r.engine.AwaitApplied(ctx, now+1) }()
	r.apply(t, put(1, db.Int(1)))
	if err := <-waited; err != nil {
		t.Errorf("await the next index: %v", err)
	}
}

func testAwaitEnds(t *testing.T, r *rig) {
	ctx, cancel := context.WithTimeout(await(t), 10*time.Millisecond)
	defer cancel()
	if err := r.engine.AwaitApplied(ctx, r.engine.AppliedIndex()+1000); err == nil {
		t.Error("an index that is not there was awaited")
	}
	r.apply(t, put(1, db.Int(1)))
}
