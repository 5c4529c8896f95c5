package db

import (
	"context"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// Engine is a replicated SQLite database. There is one implementation that
// embeds Raft (db/raftdb); every implementation passes the suite in db/dbtest.
//
// Errors are *controlplane.Error where a caller can act on them:
// CodeUnavailable (no leader, nothing changed), CodeUnknownOutcome (leadership
// was lost while a write was under way), CodeDeadline.
type Engine interface {
	// AwaitLeadership blocks until this member leads, has committed and applied an
	// entry of its own term, and so has seen all that earlier leaders committed.
	AwaitLeadership(ctx context.Context) (Term, error)

	// Apply replicates one encoded Entry and returns once it is applied here, with
	// one result per operation. It keeps neither the bytes nor the entry. It works on the leader only, and only for the term
	// given: CodeUnavailable if the entry was certainly not logged,
	// CodeUnknownOutcome if it may have been. One caller at a time.
	Apply(ctx context.Context, term Term, entry Encoded) (Applied, error)

	// Read calls fn with a read-only connection that shows one state of the
	// database, at least as fresh as asked. fn must not keep the connection; it
	// should end within a second, since a long read holds up checkpoints. It is
	// interrupted when ctx ends, or at opts.Until. Read returns the index of the state shown.
	Read(ctx context.Context, opts ReadOptions, fn func(Conn) error) (index uint64, err error)

	// Leader returns the present leader's address as dialled by other members.
	// ok is false if there is none known; self is true if it is this member.
	Leader() (address string, self, ok bool)

	// AwaitLeader blocks until a leader is known.
	AwaitLeader(ctx context.Context) error

	// AppliedIndex is the index of the newest entry in this member's database.
	AppliedIndex() uint64

	// AwaitApplied blocks until AppliedIndex is at least index.
	AwaitApplied(ctx context.Context, index uint64) error

	// ClusterID is the random id made when the cluster was formed, or restored from a
	// backup; "" before.
	ClusterID() string

	// Disk tells whether there is room for what this member keeps. It does not wait.
	Disk() Disk

	// Schema asks every member, voter or not, which migrations its release knows, for
	// at most a second each.
	Schema(ctx context.Context) (SchemaSupport, error)

	// Cluster describes the members, asking each for at most a second.
	Cluster(ctx context.Context) (controlplane.Cluster, error)
}

// Term is a span of leadership. Done is closed when it is over.
type Term struct {
	Number uint64
	Done   <-chan struct{}
	// ClockMs is the highest stamp in the log when the term began: those of this term
	// must not be below it.
	ClockMs int64
}

// Applied is the outcome of an entry.
type Applied struct {
	Index   uint64
	Results []OpResult
	// Took is how long each operation took on this member, but for the sync of the entry.
	Took []time.Duration
}

// OpResult is the outcome of one operation of an entry.
type OpResult struct {
	// Changed counts the rows that the operation's first step changed: 0 means
	// that its guard did not hold and nothing was done.
	Changed int64
	// Err is set if a constraint failed; the operation was undone as a whole.
	Err error
}

// Held reports whether the operation has done something.
func (r *OpResult) Held() bool { return r.Err == nil && r.Changed > 0 }

// Level is how fresh a read must be.
type Level uint8

// The levels.
const (
	// Linearizable sees everything acknowledged before the read began.
	Linearizable Level = iota
	// Stale is answered from this member's state at once.
	Stale
)

// ReadOptions qualify a read.
type ReadOptions struct {
	Level Level
	// MinIndex makes the read wait until the member has applied this index.
	MinIndex uint64
	// MaxStaleness makes a Stale read fail with CodeUnavailable if this member has
	// not heard from a leader for longer; no bound if 0.
	MaxStaleness time.Duration
	// Until is when the read is given up, if it is set: like the deadline of a context, which
	// costs more to make than to read a few rows.
	Until time.Time
	// Short says that fn reads a few rows by their keys. Such reads share transactions with
	// others, and are not interrupted. fn is called by another goroutine, before Read returns.
	Short bool
	// Guarded allows only what a stranger may run: one read-only statement behind
	// SQLite's authorizer, with bounded memory. For SQL that comes from outside.
	Guarded bool
	// MaxTime bounds the read once its state is fresh enough: CodeDeadline after that,
	// CodeExhausted if no connection came free. An engine's own bound if 0.
	MaxTime time.Duration
}

// Conn is a read-only connection with prepared statements, kept by their text.
type Conn interface {
	// Query runs one statement. The cursor must be closed before the next call with
	// the same text.
	Query(sql string, args ...Value) (Cursor, error)
	// QueryNamed runs one statement that comes from outside, which is not kept.
	QueryNamed(sql string, params []Param) (Cursor, error)
}

// Cursor steps through rows.
type Cursor interface {
	// Next steps to the next row; false at the end or on an error.
	Next() bool
	// Err is the error that ended Next, if any.
	Err() error
	// Columns are the names of the columns.
	Columns() []string
	// Value copies column i of the present row.
	Value(i int) Value
	// Int, Text and IsNull read column i without an intermediate Value. Int of NULL
	// is 0, Text of NULL is "".
	Int(i int) int64
	Text(i int) string
	IsNull(i int) bool
	// Close resets the statement. It returns Err.
	Close() error
}
