package raftdb

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/hashicorp/raft"
	"zombiezen.com/go/sqlite"

	"github.com/raft-control-plane/control-plane/db"
)

// outcome is what a log entry did: the FSM's response to Raft.
type outcome struct {
	results []db.OpResult
	took    []time.Duration // by each operation
	err     error
}

var (
	// errStaleTerm: the entry was made for an earlier leadership and did nothing.
	errStaleTerm = errors.New("the entry was made for an earlier term")
	// errNotAtomic: an operation failed half-way without a savepoint of its own, so its
	// whole entry was undone.
	errNotAtomic = errors.New("an operation failed after its first step")
)

// apply runs a batch of log entries in one transaction; entries that the database
// has already are skipped. An error means that nothing of the batch took effect
// and that this member cannot go on.
//
// An entry that fails half-way is undone, and those beside it are not, which takes a
// savepoint around each: SQLite then keeps a copy of every page that the entry changes.
// That costs a third of applying it and is hardly ever needed, so it is done only when
// the batch has failed without.
func (d *database) apply(logs []*raft.Log, out []any) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if logs[len(logs)-1].Index <= d.meta.appliedIndex {
		return nil
	}
	err := d.applyAll(logs, out, false)
	if errors.Is(err, errNotAtomic) {
		err = d.applyAll(logs, out, true)
	}
	return err
}

func (d *database) applyAll(logs []*raft.Log, out []any, savepoints bool) (err error) {
	next, applied, err := d.beginApply(logs[0])
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = d.exec("ROLLBACK") // SQLite may have done so already
		}
	}()
	for i, l := range logs {
		if i == 0 && applied != nil {
			out[i] = *applied
		} else if l.Index <= next.appliedIndex {
			continue
		} else if out[i], err = d.applyLog(&next, l, savepoints); err != nil {
			return fmt.Errorf("log entry %d: %w", l.Index, err)
		}
		next.appliedIndex, next.appliedTerm = l.Index, l.Term
	}
	if err := d.writeMeta(&next); err != nil {
		return err
	}
	if err := d.exec("COMMIT"); err != nil {
		return err
	}
	d.meta = next
	return nil
}

func (d *database) applyLog(m *meta, l *raft.Log, savepoint bool) (outcome, error) {
	if l.Type == raft.LogConfiguration {
		m.configuration, m.configurationIndex = append([]byte(nil), l.Data...), l.Index
		return outcome{}, nil
	}
	env, err := openEnvelope(l.Data)
	if err != nil {
		return outcome{}, err
	}
	if env.term != l.Term {
		return outcome{err: errStaleTerm}, nil
	}
	if env.kind == kindLead {
		if m.clusterID == "" {
			m.clusterID = string(env.body)
		}
		return outcome{}, nil
	}
	if env.kind == kindVerify { // the FSM does it, once this is committed
		return outcome{}, nil
	}
	if env.kind == kindRemove {
		return outcome{}, d.applyRemove(m, raft.ServerID(env.body), l.Index)
	}
	body := env.body
	if env.kind == kindPacked {
		if body, err = d.unpack(body); err != nil {
			return outcome{}, err
		}
	}
	entry, err := d.entries.Decode(body)
	if err != nil {
		return outcome{}, err
	}
	return d.applyDecoded(m, entry, l.Index, savepoint)
}

func (d *database) applyDecoded(m *meta, entry *db.Entry, index uint64, savepoint bool) (outcome, error) {
	if version := entry.Migration(); version > d.schema {
		return outcome{}, fmt.Errorf("the schema changes to version %d: %w", version, d.upgrade())
	}
	m.clockMs = max(m.clockMs, entry.StampMs)
	if savepoint {
		return d.applyAlone(entry, index, m.clockMs)
	}
	return d.applyEntry(entry, index, m.clockMs)
}

// applyRemove notes that a server is taken out.
func (d *database) applyRemove(m *meta, id raft.ServerID, index uint64) error {
	if m.removed[id] > 0 {
		return nil
	}
	removed := maps.Clone(m.removed)
	removed[id] = index
	m.removed = removed
	_, err := d.step(&db.Step{SQL: sqlRemovedAdd, Args: []db.Value{db.Str(string(id)), db.Int(int64(index))}})
	return err
}

// applyAlone runs an entry under a savepoint of its own: if it fails half-way it did
// nothing, which is its outcome.
func (d *database) applyAlone(e *db.Entry, index uint64, stampMs int64) (outcome, error) {
	if err := d.exec("SAVEPOINT entry"); err != nil {
		return outcome{}, err
	}
	out, err := d.applyEntry(e, index, stampMs)
	if errors.Is(err, errNotAtomic) {
		return outcome{err: err}, errors.Join(d.exec("ROLLBACK TO entry"), d.exec("RELEASE entry"))
	}
	if err != nil {
		return outcome{}, err
	}
	return out, d.exec("RELEASE entry")
}

// applyEntry runs the operations of an entry.
func (d *database) applyEntry(e *db.Entry, index uint64, stampMs int64) (outcome, error) {
	results, took := make([]db.OpResult, len(e.Ops)), make([]time.Duration, len(e.Ops))
	begun, before := time.Now(), time.Duration(0) //nolint:forbidigo // told to the leader that asked, and not stored
	journal := []byte{'['}
	for i, op := range e.Ops {
		if op.Needs > 0 && !results[op.Needs-1].Held() {
			continue
		}
		var err error
		if results[i], err = d.applyOp(op); err != nil {
			return outcome{}, err
		}
		now := time.Since(begun) //nolint:forbidigo // as above
		took[i], before = now-before, now
		if results[i].Held() && len(op.Journal) > 0 {
			if len(journal) > 1 {
				journal = append(journal, ',')
			}
			journal = append(journal, op.Journal...)
		}
	}
	out := outcome{results: results, took: took}
	if err := d.noteEnds(e, results); err != nil {
		return outcome{}, err
	}
	if e.JournalSQL == "" || len(journal) == 1 {
		return out, nil
	}
	_, err := d.step(&db.Step{SQL: e.JournalSQL, Args: []db.Value{
		db.Int(int64(index)), db.Int(stampMs), {Kind: db.Text, Bytes: append(journal, ']')}}})
	return out, err
}

// noteEnds notes the tasks that the entry has ended.
func (d *database) noteEnds(e *db.Entry, results []db.OpResult) error {
	if e.EndsSQL == "" {
		return nil
	}
	count, tasks := int64(0), []byte{'['}
	for i, op := range e.Ops {
		if op.Ends != 0 && results[i].Held() {
			count, tasks = count+1, append(strconv.AppendInt(tasks, op.Ends, 10), ',')
		}
		if count == 0 || count < db.EndsAtOnce && i < len(e.Ops)-1 {
			continue
		}
		tasks[len(tasks)-1] = ']'
		if _, err := d.step(&db.Step{SQL: e.EndsSQL, Args: []db.Value{db.Int(count), {Kind: db.Text, Bytes: tasks}}}); err != nil {
			return err
		}
		count, tasks = 0, append(tasks[:0], '[')
	}
	return nil
}

// applyOp runs one operation: the guard, and the steps after it if it held.
func (d *database) applyOp(op *db.Op) (res db.OpResult, err error) {
	if op.Savepoint {
		if err := d.exec("SAVEPOINT op"); err != nil {
			return res, err
		}
	}
	for i := range op.Steps {
		s := &op.Steps[i]
		if i > 0 && res.Changed == 0 && !s.Always {
			continue
		}
		n, err := d.step(s)
		switch {
		case err != nil && !isResult(err):
			return res, err
		case err != nil && op.Savepoint:
			return db.OpResult{Err: err}, errors.Join(d.exec("ROLLBACK TO op"), d.exec("RELEASE op"))
		case err != nil && i > 0:
			return res, fmt.Errorf("%w: %w", errNotAtomic, err)
		case err != nil:
			return db.OpResult{Err: err}, nil
		case i == 0:
			res.Changed = n
		}
	}
	if op.Savepoint {
		return res, d.exec("RELEASE op")
	}
	return res, nil
}

// step runs one statement and returns how many rows it changed.
func (d *database) step(s *db.Step) (int64, error) {
	if s.Script {
		return 0, script(d.conn, s.SQL)
	}
	p, err := d.prepare(s.SQL)
	if err != nil {
		return 0, err
	}
	if len(s.Args) != len(p.bound) { // the rest would have the values of the statement's last run, on members that had it
		return 0, fmt.Errorf("the statement takes %d parameters and is given %d: %.80q", len(p.bound), len(s.Args), s.SQL)
	}
	p.bind(s.Args)
	if err := d.finish(p.stmt); err != nil {
		p.forget()
		return 0, err
	}
	if !p.counts {
		return 0, nil
	}
	return int64(d.conn.Changes()), nil
}

// changesRows reports whether SQLite counts anew what a statement changes. After
// others it still says what the one before them changed, which on another replica,
// where the transactions are cut otherwise, may be another number.
func changesRows(sql string, st *sqlite.Stmt) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(sql), " ")
	switch strings.ToUpper(word) {
	case "INSERT", "UPDATE", "DELETE", "REPLACE":
		return true
	case "WITH":
		return st.ColumnCount() == 0 // no SELECT
	}
	return false
}

func bind(st *sqlite.Stmt, args []db.Value) {
	for i := range args {
		bindOne(st, i+1, &args[i])
	}
}

func bindOne(st *sqlite.Stmt, i int, v *db.Value) {
	switch v.Kind {
	case db.Integer:
		st.BindInt64(i, v.Int)
	case db.Real:
		st.BindFloat(i, v.Float)
	case db.Text:
		// SQLite copies it before the call returns.
		st.BindText(i, unsafe.String(unsafe.SliceData(v.Bytes), len(v.Bytes)))
	case db.Blob:
		if len(v.Bytes) == 0 {
			st.BindZeroBlob(i, 0)
		} else {
			st.BindBytes(i, v.Bytes)
		}
	default:
		st.BindNull(i)
	}
}

// isResult reports whether a failure follows from the statement and the state
// alone, so that every replica comes to it: a constraint, or SQL that cannot be
// run. Anything else (a full disk, damage, no memory) is this member's own.
func isResult(err error) bool {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultConstraint, sqlite.ResultError, sqlite.ResultMismatch, sqlite.ResultTooBig, sqlite.ResultRange:
		return true
	}
	return false
}

// isBlank reports whether a text has no statement.
func isBlank(sql string) bool {
	for i := 0; i < len(sql); i++ {
		switch sql[i] {
		case ' ', '\t', '\n', '\r', '\f', ';':
		case '-':
			if i+1 >= len(sql) || sql[i+1] != '-' {
				return false
			}
			for i < len(sql) && sql[i] != '\n' {
				i++
			}
		default:
			return false
		}
	}
	return true
}

// snapshotID names the state of a generation at an index.
func snapshotID(g generation, index uint64) string {
	return g.name() + "-" + strconv.FormatUint(index, 10)
}
