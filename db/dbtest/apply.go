package dbtest

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/raft-control-plane/control-plane/db"
)

var applyTests = map[string]func(*testing.T, *rig){
	"each operation has its result":                testResults,
	"values come back as they went in":             testValues,
	"steps after a guard that does not hold":       testGuard,
	"a first step that changes no rows":            testGuardOfNoRows,
	"a constraint harms its own operation only":    testConstraint,
	"a savepoint undoes the steps before":          testSavepoint,
	"nothing is done by halves":                    testAtomic,
	"the journal holds what took effect":           testJournal,
	"no journal when nothing took effect":          testNoJournal,
	"what ended is noted together":                 testEnds,
	"an operation needs another one":               testNeeds,
	"operations see those before them":             testOrder,
	"a script runs all its statements":             testScript,
	"a script that fails is undone":                testScriptUndone,
	"a large entry":                                testLargeEntry,
	"statements that SQLite cannot run":            testBadSQL,
	"parameters too few or too many":               testParameterCount,
	"texts of the same statement in later entries": testSameText,
}

func testResults(t *testing.T, r *rig) {
	a := r.apply(t, put(1, db.Int(1)), put(2, db.Int(1)),
		&db.Op{Steps: []db.Step{{SQL: "UPDATE pairs SET v = v + 1"}}},
		&db.Op{Steps: []db.Step{{SQL: "DELETE FROM pairs WHERE k = 9"}}},
		&db.Op{Steps: []db.Step{{SQL: "INSERT INTO pairs VALUES (1, 5) ON CONFLICT DO NOTHING"}}})
	equal(t, "results", a.Results, []db.OpResult{{Changed: 1}, {Changed: 1}, {Changed: 2}, {}, {}})
	if len(a.Took) != len(a.Results) || slices.Min(a.Took) <= 0 {
		t.Errorf("%d operations took %v", len(a.Results), a.Took)
	}
	equal(t, "pairs", r.pairs(t), "1=2 2=2")
}

func testValues(t *testing.T, r *rig) {
	values := []db.Value{
		{}, db.Int(0), db.Int(math.MaxInt64), db.Int(math.MinInt64), db.Float(0.1), db.Float(-1e300), db.Str(""), db.Str("Grüße"),
		db.Str("a\x00b"), db.Str("1"), {Kind: db.Blob, Bytes: []byte{}}, db.Bytes([]byte{0, 1, 255}), db.Bytes(bytes.Repeat([]byte{9}, 100_000)),
	}
	for i, v := range values {
		r.apply(t, put(int64(i), v))
	}
	_, err := r.engine.Read(await(t), db.ReadOptions{}, func(c db.Conn) error {
		cur, err := c.Query("SELECT v FROM pairs ORDER BY k")
		if err != nil {
			return err
		}
		for i := 0; cur.Next(); i++ {
			got, want := cur.Value(0), values[i]
			if got.Kind != want.Kind || got.Int != want.Int || got.Float != want.Float || !bytes.Equal(got.Bytes, want.Bytes) {
				t.Errorf("%.40q of kind %d came back as %.40q of kind %d", want, want.Kind, got, got.Kind)
			}
			if cur.IsNull(0) != (want.Kind == db.Null) {
				t.Errorf("%v: null is %v", want, cur.IsNull(0))
			}
			if want.Kind == db.Text && cur.Text(0) != string(want.Bytes) || want.Kind == db.Integer && cur.Int(0) != want.Int {
				t.Errorf("%v reads as %q and %d", want, cur.Text(0), cur.Int(0))
			}
			if want.Kind == db.Null && (cur.Text(0) != "" || cur.Int(0) != 0) {
				t.Errorf("NULL reads as %q and %d", cur.Text(0), cur.Int(0))
			}
		}
		return cur.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func change(k int64, v string) db.Step {
	return db.Step{SQL: sqlChange, Args: []db.Value{db.Int(k), db.Str(v)}}
}

func testGuard(t *testing.T, r *rig) {
	r.apply(t, put(1, db.Str("a")), put(2, db.Str("a")), put(3, db.Str("a")))
	always := change(2, "always")
	always.Always = true
	a := r.apply(t,
		&db.Op{Steps: []db.Step{change(7, "x"), change(3, "after a guard that failed"), always}},
		&db.Op{Steps: []db.Step{change(1, "held"), change(7, "x"), change(1, "held still")}})
	equal(t, "results", a.Results, []db.OpResult{{}, {Changed: 1}})
	equal(t, "pairs", r.pairs(t), "1=held still 2=always 3=a")
}

// A first step that is no INSERT, UPDATE or DELETE changes no row, whatever the
// statement before it did: the count must not be left over from that.
func testGuardOfNoRows(t *testing.T, r *rig) {
	for _, sql := range []string{"CREATE TABLE IF NOT EXISTS pairs (k)", "SELECT 1", "UPDATE pairs SET v = 9 WHERE false"} {
		r.reset(t)
		a := r.apply(t, put(1, db.Int(1)), &db.Op{Steps: []db.Step{{SQL: sql}, change(1, "ran")}, Journal: []byte(`"ran"`)})
		equal(t, sql, a.Results, []db.OpResult{{Changed: 1}, {}})
		equal(t, sql, r.pairs(t), "1=1")
		equal(t, sql, rows(t, r.engine, "SELECT body FROM journal"), `[["put 1"]]`)
	}
}

func testConstraint(t *testing.T, r *rig) {
	a := r.apply(t, put(1, db.Str("a")), put(1, db.Str("twice")), put(2, db.Str("bad")), put(3, db.Str("c")))
	for i, failed := range []bool{false, true, true, false} {
		res := a.Results[i]
		if (res.Err != nil) != failed || (res.Changed == 1) == failed {
			t.Errorf("operation %d: %+v", i, res)
		}
	}
	equal(t, "pairs", r.pairs(t), "1=a 3=c")
	equal(t, "journal", rows(t, r.engine, "SELECT body FROM journal"), `[["put 1","put 3"]]`)
}

func testSavepoint(t *testing.T, r *rig) {
	a := r.apply(t, put(1, db.Str("a")),
		&db.Op{Savepoint: true, Journal: []byte(`"undone"`), Steps: []db.Step{change(1, "b"), change(1, "bad")}},
		&db.Op{Savepoint: true, Journal: []byte(`"done"`), Steps: []db.Step{{SQL: sqlPut, Args: []db.Value{db.Int(2), db.Str("c")}}, change(2, "d")}},
		put(3, db.Str("e")))
	if a.Results[1].Err == nil || a.Results[1].Changed != 0 || a.Results[2] != (db.OpResult{Changed: 1}) || a.Results[3] != (db.OpResult{Changed: 1}) {
		t.Errorf("results %+v", a.Results)
	}
	equal(t, "pairs", r.pairs(t), "1=a 2=d 3=e")
	equal(t, "journal", rows(t, r.engine, "SELECT body FROM journal"), `[["put 1","done","put 3"]]`)
}

// An operation that fails half-way without a savepoint is a fault of whoever wrote
// it. Whatever the engine says of it, no half of it may stay.
func testAtomic(t *testing.T, r *rig) {
	r.apply(t, put(1, db.Str("a")))
	_, err := r.try(t, put(2, db.Str("b")), &db.Op{Steps: []db.Step{change(1, "half"), change(1, "bad")}})
	if err == nil {
		t.Error("an operation that was done by halves is no error")
	}
	equal(t, "pairs", r.pairs(t), "1=a")
	r.apply(t, put(3, db.Str("goes on")))
	equal(t, "pairs", r.pairs(t), "1=a 3=goes on")
}

func testJournal(t *testing.T, r *rig) {
	nothing := &db.Op{Steps: []db.Step{change(7, "x")}, Journal: []byte(`"nothing"`)}
	silent := &db.Op{Steps: []db.Step{change(1, "x")}}
	two := &db.Op{Steps: []db.Step{change(1, "y")}, Journal: []byte(`"two",["of",1]`)}
	a := r.apply(t, nothing, put(1, db.Int(1)), silent, two, nothing)
	want := fmt.Sprintf(`[%d|%d|["put 1","two",["of",1]]]`, a.Index, int64(stamp))
	equal(t, "journal", rows(t, r.engine, "SELECT * FROM journal"), want)
}

func testNoJournal(t *testing.T, r *rig) {
	r.apply(t, &db.Op{Steps: []db.Step{change(7, "x")}, Journal: []byte(`"nothing"`)}, put(1, db.Str("bad")))
	r.apply(t, &db.Op{Steps: []db.Step{{SQL: "INSERT INTO pairs VALUES (4, 4)"}}})
	entry := db.Entry{StampMs: stamp, Ops: []*db.Op{put(5, db.Int(5))}} // no statement for it
	if _, err := r.engine.Apply(await(t), r.term, entry.Encoded(nil)); err != nil {
		t.Fatal(err)
	}
	equal(t, "journal", rows(t, r.engine, "SELECT * FROM journal"), "[]")
	equal(t, "pairs", r.pairs(t), "4=4 5=5")
}

func testEnds(t *testing.T, r *rig) {
	r.apply(t, &db.Op{Savepoint: true, Steps: []db.Step{{Script: true,
		SQL: "DROP TABLE IF EXISTS ended; CREATE TABLE ended (id INTEGER PRIMARY KEY, many INTEGER, tasks TEXT)"}}})
	ops := []*db.Op{put(1, db.Int(1)), put(2, db.Str("bad")), {Steps: []db.Step{change(7, "x")}}, put(3, db.Int(3)), put(4, db.Int(4))}
	for i, op := range ops[:4] {
		op.Ends = int64(i + 1) // the second fails, the third changes nothing, the fifth ends nothing
	}
	apply := func(sql string, ops ...*db.Op) {
		t.Helper()
		entry := db.Entry{StampMs: stamp, EndsSQL: sql, Ops: ops}
		if _, err := r.engine.Apply(await(t), r.term, entry.Encoded(nil)); err != nil {
			t.Fatal(err)
		}
	}
	const note = "INSERT INTO ended (many, tasks) VALUES (?1, ?2)"
	apply(note, ops...)
	apply(note, put(5, db.Int(5)), put(6, db.Str("bad")))
	last := put(7, db.Int(7))
	last.Ends = 7
	apply("", last) // no statement for it
	equal(t, "ends", rows(t, r.engine, "SELECT many, tasks FROM ended"), "[2|[1,4]]")
	for _, n := range []int{db.EndsAtOnce, 2*db.EndsAtOnce + 1} {
		var many []*db.Op
		for k := range int64(n) {
			op := put(1000*int64(n)+k, db.Value{})
			op.Ends = k + 1
			many = append(many, op)
		}
		apply(note, many...)
	}
	equal(t, "how many at once", rows(t, r.engine, "SELECT many FROM ended WHERE id > 1 ORDER BY id"), "[32 32 32 1]")
	equal(t, "their order", rows(t, r.engine, "SELECT count(*), sum(value = key + 32 * (e.id - 3) + 1) FROM ended e, json_each(tasks) WHERE e.id > 2"), "[65|65]")
}

func testNeeds(t *testing.T, r *rig) {
	needs := func(k int64, n int) *db.Op {
		op := put(k, db.Int(k))
		op.Needs, op.Ends = n, k
		op.Steps = append(op.Steps, db.Step{SQL: sqlPut, Args: []db.Value{db.Int(-k), {}}, Always: true})
		return op
	}
	nothing := &db.Op{Steps: []db.Step{change(70, "x")}}
	a := r.apply(t, put(1, db.Int(1)), nothing, put(3, db.Str("bad")), needs(4, 1), needs(5, 2), needs(6, 3), needs(7, 4), needs(8, 5))
	if a.Results[2].Err == nil {
		t.Error("the third did not fail")
	}
	a.Results[2].Err = nil
	equal(t, "results", a.Results, []db.OpResult{{Changed: 1}, {}, {}, {Changed: 1}, {}, {}, {Changed: 1}, {}})
	equal(t, "pairs", r.pairs(t), "-7=NULL -4=NULL 1=1 4=4 7=7")
	equal(t, "journal", rows(t, r.engine, "SELECT body FROM journal"), `[["put 1","put 4","put 7"]]`)
}

func testOrder(t *testing.T, r *rig) {
	var ops []*db.Op
	for k := range int64(100) {
		ops = append(ops, &db.Op{Steps: []db.Step{{SQL: "INSERT INTO pairs SELECT ?1, count(*) FROM pairs", Args: []db.Value{db.Int(k)}}}})
	}
	r.apply(t, ops...)
	equal(t, "out of order", rows(t, r.engine, "SELECT k FROM pairs WHERE k <> v"), "[]")
	equal(t, "rows", rows(t, r.engine, "SELECT count(*) FROM pairs"), "[100]")
}

func testScript(t *testing.T, r *rig) {
	r.apply(t, &db.Op{Savepoint: true, Steps: []db.Step{
		{SQL: sqlPut, Args: []db.Value{db.Int(1), db.Int(1)}},
		{Script: true, SQL: "-- a comment; with a semicolon\nCREATE TABLE extra (a);\nINSERT INTO extra VALUES ('x;y');\n" +
			"CREATE VIEW seen AS SELECT * FROM extra; -- and the end\n"},
	}})
	equal(t, "view", rows(t, r.engine, "SELECT * FROM seen"), "[x;y]")
	r.apply(t, &db.Op{Savepoint: true, Steps: []db.Step{{Script: true, SQL: "DROP VIEW seen; DROP TABLE extra"}}})
	equal(t, "pairs", r.pairs(t), "1=1")
}

func testScriptUndone(t *testing.T, r *rig) {
	a := r.apply(t,
		&db.Op{Savepoint: true, Steps: []db.Step{
			{SQL: sqlPut, Args: []db.Value{db.Int(1), db.Int(1)}},
			{Script: true, SQL: "CREATE TABLE half (a); INSERT INTO pairs VALUES (2, 'bad')"},
		}}, put(3, db.Int(3)))
	if a.Results[0].Err == nil || a.Results[1] != (db.OpResult{Changed: 1}) {
		t.Errorf("results %+v", a.Results)
	}
	equal(t, "pairs", r.pairs(t), "3=3")
	equal(t, "tables", rows(t, r.engine, "SELECT name FROM sqlite_schema WHERE name = 'half'"), "[]")
}

func testLargeEntry(t *testing.T, r *rig) {
	blob := bytes.Repeat([]byte{0xAB}, 1<<20)
	var ops []*db.Op
	for k := range int64(8) {
		ops = append(ops, put(k, db.Bytes(blob)))
	}
	for k := range int64(2000) {
		ops = append(ops, put(100+k, db.Str(strings.Repeat("x", 100))))
	}
	r.apply(t, ops...)
	equal(t, "content", rows(t, r.engine, "SELECT count(*), sum(length(v)) FROM pairs"), fmt.Sprintf("[2008|%d]", 8<<20+200_000))
}

// A statement that cannot be run fails alike everywhere, so it is a result.
func testBadSQL(t *testing.T, r *rig) {
	for _, sql := range []string{"NONSENSE", "INSERT INTO no_such_table VALUES (1)", "UPDATE pairs SET no_such_column = 1", "CREATE TABLE pairs (a)"} {
		a := r.apply(t, put(1, db.Int(1)), &db.Op{Savepoint: true, Steps: []db.Step{{SQL: sql, Always: true}}}, put(2, db.Int(2)))
		if a.Results[1].Err == nil {
			t.Errorf("%q went well", sql)
		}
		equal(t, sql, r.pairs(t), "1=1 2=2")
		r.reset(t)
	}
}

// What is not given must not be what the statement was given before: another member,
// started anew, would not know that.
func testParameterCount(t *testing.T, r *rig) {
	for _, args := range [][]db.Value{nil, {db.Int(2)}, {db.Int(2), db.Str("a"), db.Str("too many")}} {
		a := r.apply(t, put(1, db.Str("before")), &db.Op{Steps: []db.Step{{SQL: sqlPut, Args: args}}}, put(3, db.Str("after")))
		if a.Results[1].Err == nil {
			t.Errorf("%d values for two parameters went well", len(args))
		}
		equal(t, fmt.Sprintf("%d values", len(args)), r.pairs(t), "1=before 3=after")
		r.reset(t)
	}
}

// Statements are kept by their text: a schema that changes between must not
// matter.
func testSameText(t *testing.T, r *rig) {
	for i := range 3 {
		r.apply(t, put(1, db.Int(int64(i))))
		if got, want := r.pairs(t), fmt.Sprintf("1=%d", i); !reflect.DeepEqual(got, want) {
			t.Errorf("round %d: %s", i, got)
		}
		r.reset(t)
	}
}
