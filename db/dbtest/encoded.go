package dbtest

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/raft-control-plane/control-plane/db"
)

// checked is an engine that is given nothing but entries that are what their bytes say, and
// that are so when it has applied them: the member that makes an entry may run it as it is,
// while others read it from its bytes.
type checked struct {
	db.Engine
	t *testing.T
}

// Apply implements db.Engine.
func (c checked) Apply(ctx context.Context, term db.Term, encoded db.Encoded) (db.Applied, error) {
	logged := slices.Clone(encoded.Bytes)
	entry, err := db.DecodeEntry(logged)
	if err != nil || encoded.Entry() == nil || !sameEntry(entry, encoded.Entry()) {
		c.t.Errorf("an entry is %+v and its bytes say %+v, %v", encoded.Entry(), entry, err)
	}
	applied, err := c.Engine.Apply(ctx, term, encoded)
	if e := encoded.Entry(); e != nil && !bytes.Equal(e.Encode(nil), logged) {
		c.t.Errorf("an entry was changed while it was applied: it was %+v", entry)
	}
	return applied, err
}

// sameEntry reports whether two entries do the same. What is empty may be nil.
func sameEntry(a, b *db.Entry) bool {
	noted := a.EndsSQL != ""
	return a.StampMs == b.StampMs && a.JournalSQL == b.JournalSQL && a.EndsSQL == b.EndsSQL && slices.EqualFunc(a.Ops, b.Ops, func(a, b *db.Op) bool {
		return a.Savepoint == b.Savepoint && a.Needs == b.Needs && (a.Ends == b.Ends || !noted) && bytes.Equal(a.Journal, b.Journal) && slices.EqualFunc(a.Steps, b.Steps, sameStep)
	})
}

func sameStep(a, b db.Step) bool {
	return a.SQL == b.SQL && a.Always == b.Always && a.Script == b.Script && slices.EqualFunc(a.Args, b.Args, func(a, b db.Value) bool {
		return a.Kind == b.Kind && a.Int == b.Int && a.Float == b.Float && bytes.Equal(a.Bytes, b.Bytes)
	})
}
