package raftdb

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/migrations"
)

// benchCycles is how many tasks an entry of BenchmarkApply stores, how many it assigns and
// how many it ends.
const benchCycles = 32

// BenchmarkApply measures what a cycle of a task costs each member in its database: entries
// that store tasks, assign those of the entry before, and end those of the one before that
// are unpacked, decoded and run. cpu-ns/cycle is this process's CPU. On a busy machine count
// instructions instead: run the test binary with -test.benchtime 40x and 140x under
// valgrind --tool=cachegrind --cache-sim=no, GOGC=off and GOMAXPROCS=1, and take the
// difference. Making the entries is in that, too.
func BenchmarkApply(b *testing.B) {
	d := benchDatabase(b)
	var used int64
	for n := range b.N + 3 { // from the third on entries are alike, and statements prepared
		l := benchLog(b, int64(n)+1)
		out := make([]any, 1)
		begun := cpuNs(b)
		if err := d.apply([]*raft.Log{l}, out); err != nil {
			b.Fatal(err)
		}
		if n >= 3 {
			used += cpuNs(b) - begun
		}
		for i, r := range out[0].(outcome).results {
			if r.Changed != 1 {
				b.Fatalf("entry %d: operation %d changed %d rows: %v", l.Index, i, r.Changed, r.Err)
			}
		}
		if l.Index%1000 == 0 {
			if err := script(d.conn, sqlCheckpoint); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(used)/float64(b.N*benchCycles), "cpu-ns/cycle")
}

func benchLog(b *testing.B, n int64) *raft.Log {
	b.Helper()
	env, release := pack(1, benchEntry(b, n).Encode(nil))
	defer release()
	return &raft.Log{Index: uint64(n), Term: 1, Type: raft.LogCommand, Data: env.seal()}
}

func benchDatabase(b *testing.B) *database {
	b.Helper()
	g := generation{path: b.TempDir()}
	if err := createDatabase(g); err != nil {
		b.Fatal(err)
	}
	all, err := migrations.All()
	if err != nil {
		b.Fatal(err)
	}
	d, err := openDatabase(g, len(all))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.close() })
	for _, m := range all {
		if err := script(d.conn, m.SQL); err != nil {
			b.Fatal(err)
		}
	}
	_, err = d.applyOp(db.RegisterOp("bench-worker", "bench-session", "", &controlplane.NodeSpec{Slots: 64}, db.NodeRegistered, 1))
	if err != nil {
		b.Fatal(err)
	}
	return d
}

// benchEntry is the nth entry.
func benchEntry(b *testing.B, n int64) *db.Entry {
	now := 1_700_000_000_000 + n
	e := &db.Entry{StampMs: now, JournalSQL: statement(b, "event_insert"), EndsSQL: statement(b, "task_end_insert")}
	for i := range int64(benchCycles) {
		e.Ops = append(e.Ops, benchStore(b, n*benchCycles+i, now))
	}
	for i := range int64(benchCycles) {
		h := db.Held{NodeID: "bench-worker", Attempt: 1}
		if h.Seq = (n-1)*benchCycles + i; n > 1 {
			e.Ops = append(e.Ops, benchAssign(b, e, h, now))
		}
		if h.Seq -= benchCycles; n > 2 {
			e.Ops = append(e.Ops, db.EndOp(h, controlplane.TaskCompleted, &controlplane.Result{}, "", now))
		}
	}
	return e
}

// benchAssign gives a task to the node, as Group.Assign does: the first looks at it. Ends stand
// between them here.
func benchAssign(b *testing.B, e *db.Entry, h db.Held, now int64) *db.Op {
	op := db.AssignOp(h, "bench-session", controlplane.TaskRunning, now)
	if len(e.Ops) > benchCycles {
		op.Needs, op.Steps[0].SQL, op.Steps[0].Args = benchCycles+1, statement(b, "task_assign_next"), op.Steps[0].Args[:7]
	}
	return op
}

// benchStore stores a task as a submission does that finds no worker waiting.
func benchStore(b *testing.B, seq, now int64) *db.Op {
	id := fmt.Sprintf("0190a0b0-c0d0-7000-8000-%012d", seq)
	args := make([]db.Value, 25)
	args[0], args[1], args[4], args[5] = db.Int(seq), db.Str(id), db.Str("bench-queue"), db.Int(0)
	args[7], args[9], args[10] = db.Int(1), db.Int(3), db.Int(5)
	args[11], args[13], args[15] = db.Str("PENDING"), db.Int(0), db.Int(now)
	return &db.Op{Journal: fmt.Appendf(nil, `["S",%d]`, seq), Steps: []db.Step{
		{SQL: statement(b, "task_insert"), Args: args},
		{SQL: statement(b, "task_input_insert"), Args: []db.Value{db.Int(seq), {}, db.Str("bench"), db.Bytes(noise(id, benchPayload))}},
	}}
}

var (
	benchStatements = map[string]string{}
	comments        = regexp.MustCompile(`(?m)^--.*\n`)
)

// statement is one of package db, without its comment.
func statement(b *testing.B, name string) string {
	if benchStatements[name] == "" {
		text, err := os.ReadFile(filepath.Join("..", "query", name+".sql"))
		if err != nil {
			b.Fatal(err)
		}
		benchStatements[name] = comments.ReplaceAllString(string(text), "")
	}
	return benchStatements[name]
}

// cpuNs is what this process has used.
func cpuNs(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
