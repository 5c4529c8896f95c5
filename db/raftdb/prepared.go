package raftdb

import (
	"bytes"

	"zombiezen.com/go/sqlite"

	"github.com/raft-control-plane/control-plane/db"
)

// prepared is a statement of the writer, whether it changes rows, and what its parameters
// are bound to.
type prepared struct {
	stmt   *sqlite.Stmt
	counts bool
	bound  []boundValue // one for each parameter
}

// recent are some of the statements that are prepared, by their texts. An entry has some ten, and
// to compare a text with itself takes no time, while hashing one of 300 bytes takes as long as
// binding what it is given.
type recent struct {
	all [12]struct {
		sql string
		p   *prepared
	}
	next int // is overwritten
}

func (r *recent) find(sql string) *prepared {
	for i := range r.all {
		if r.all[i].sql == sql {
			return r.all[i].p
		}
	}
	return nil
}

func (r *recent) add(sql string, p *prepared) {
	r.all[r.next].sql, r.all[r.next].p = sql, p
	r.next = (r.next + 1) % len(r.all)
}

// boundValue is what a parameter was bound to last.
type boundValue struct {
	known bool
	kind  db.Kind
	int   int64
	bytes []byte // a copy
}

// maxBoundBytes bounds the texts and blobs that are kept to be compared with the next:
// names and ids. What is longer is hardly ever the same twice.
const maxBoundBytes = 64

// bind gives the statement its parameters. A statement keeps its values when it is reset,
// so that those that are what they were in its last run are left: of the tasks in one
// entry two thirds of the parameters are alike, and most are NULL. It saves a twentieth of
// what an entry costs.
func (p *prepared) bind(args []db.Value) {
	for i := range args {
		if v := &args[i]; !p.bound[i].is(v) {
			bindOne(p.stmt, i+1, v)
			p.bound[i].keep(v)
		}
	}
}

// forget lets the next run bind all of its parameters: after an error nobody knows which
// of them SQLite has taken.
func (p *prepared) forget() {
	for i := range p.bound {
		p.bound[i].known = false
	}
}

func (b *boundValue) is(v *db.Value) bool {
	if !b.known || b.kind != v.Kind {
		return false
	}
	switch v.Kind {
	case db.Null:
		return true
	case db.Integer:
		return b.int == v.Int
	case db.Text, db.Blob:
		return bytes.Equal(b.bytes, v.Bytes)
	}
	return false
}

func (b *boundValue) keep(v *db.Value) {
	b.kind, b.int = v.Kind, v.Int
	b.known = len(v.Bytes) <= maxBoundBytes
	if b.known {
		b.bytes = append(b.bytes[:0], v.Bytes...)
	}
}
