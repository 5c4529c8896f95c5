package dbtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var readTests = map[string]func(*testing.T, *rig){
	"every level shows the last write":       testLevels,
	"a read shows one state":                 testOneState,
	"a read waits for its index":             testMinIndex,
	"an index that does not come":            testMinIndexEnds,
	"a bound on staleness holds at a leader": testStaleness,
	"the error of the function comes back":   testReadError,
	"reads cannot write":                     testReadOnly,
	"two statements at a time":               testTwoCursors,
	"a long read ends with its context":      testLongRead,
	"a read ends when it is given up":        testUntil,
	"reads go on at once":                    testManyReads,
}

// endless is a statement that never ends by itself.
const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

func testLevels(t *testing.T, r *rig) {
	for k := range int64(10) {
		a := r.apply(t, put(k, db.Int(k)))
		for _, opts := range []db.ReadOptions{{}, {Level: db.Stale}, {Short: true}, {Guarded: true}, {Short: true, Guarded: true}, {Level: db.Stale, Guarded: true, MinIndex: a.Index}} {
			index, err := r.engine.Read(await(t), opts, func(c db.Conn) error {
				got, err := collect(c, "SELECT max(k) FROM pairs")
				equal(t, fmt.Sprintf("%+v", opts), got, []int64{k})
				return err
			})
			if err != nil || index < a.Index {
				t.Errorf("%+v: index %d of a write at %d, %v", opts, index, a.Index, err)
			}
		}
	}
}

func testOneState(t *testing.T, r *rig) {
	for rows, short := range []bool{false, true} {
		rows := int64(rows + 1)
		first := r.apply(t, put(rows, db.Int(rows)))
		index, err := r.engine.Read(await(t), db.ReadOptions{Level: db.Stale, Short: short}, func(c db.Conn) error {
			before, err := collect(c, "SELECT count(*) FROM pairs")
			if err != nil {
				return err
			}
			r.apply(t, put(rows+1, db.Int(rows+1)))
			after, err := collect(c, "SELECT count(*) FROM pairs")
			equal(t, "rows before and after a write", [2]any{before, after}, fmt.Sprintf("[[%d] [%d]]", rows, rows))
			return err
		})
		if err != nil || index != first.Index {
			t.Errorf("index %d, %v; the state shown is that of %d", index, err, first.Index)
		}
	}
	equal(t, "a later read", r.pairs(t), "1=1 2=2 3=3")
}

func testMinIndex(t *testing.T, r *rig) {
	for _, level := range []db.Level{db.Stale, db.Linearizable} {
		next := r.engine.AppliedIndex() + 1
		got := make(chan error, 1)
		ctx := await(t)
		go func() {
			index, err := r.engine.Read(ctx, db.ReadOptions{Level: level, MinIndex: next}, func(db.Conn) error { return nil })
			if err == nil && index < next {
				err = fmt.Errorf("index %d, asked for %d", index, next)
			}
			got <- err
		}()
		r.apply(t, put(int64(next), db.Int(1)))
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
}

func testMinIndexEnds(t *testing.T, r *rig) {
	ctx, cancel := context.WithTimeout(await(t), 20*time.Millisecond)
	defer cancel()
	_, err := r.engine.Read(ctx, db.ReadOptions{Level: db.Stale, MinIndex: r.engine.AppliedIndex() + 1000}, func(db.Conn) error {
		t.Error("the function was called")
		return nil
	})
	wantCode(t, "read at an index that is not there", err, controlplane.CodeDeadline)
}

func testStaleness(t *testing.T, r *rig) {
	_, err := r.engine.Read(await(t), db.ReadOptions{Level: db.Stale, MaxStaleness: time.Nanosecond}, func(db.Conn) error { return nil })
	if err != nil {
		t.Errorf("the leader is never stale: %v", err)
	}
}

func testReadError(t *testing.T, r *rig) {
	mine := errors.New("mine")
	_, err := r.engine.Read(await(t), db.ReadOptions{}, func(db.Conn) error { return mine })
	if !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
}

func testReadOnly(t *testing.T, r *rig) {
	for _, sql := range []string{"INSERT INTO pairs VALUES (1, 1)", "DELETE FROM pairs", "CREATE TABLE x (a)", "DROP TABLE pairs"} {
		_, err := r.engine.Read(await(t), db.ReadOptions{Level: db.Stale}, func(c db.Conn) error {
			_, err := collect(c, sql)
			return err
		})
		if err == nil {
			t.Errorf("%s went well", sql)
		}
	}
	equal(t, "pairs", r.pairs(t), "")
}

func testTwoCursors(t *testing.T, r *rig) {
	r.apply(t, put(1, db.Int(10)), put(2, db.Int(20)))
	_, err := r.engine.Read(await(t), db.ReadOptions{}, func(c db.Conn) error {
		outer, err := c.Query("SELECT k FROM pairs ORDER BY k")
		if err != nil {
			return err
		}
		for outer.Next() {
			inner, err := collect(c, "SELECT v FROM pairs WHERE k = ?1", db.Int(outer.Int(0)))
			equal(t, "inner", inner, []int64{10 * outer.Int(0)})
			if err != nil {
				return err
			}
		}
		return outer.Close()
	})
	if err != nil {
		t.Error(err)
	}
}

// More long reads than an engine has connections: each gives its own back.
func testLongRead(t *testing.T, r *rig) {
	for _, opts := range []db.ReadOptions{{Level: db.Stale}, {}, {Level: db.Stale, Guarded: true}} {
		for range 10 {
			ctx, cancel := context.WithTimeout(await(t), 30*time.Millisecond)
			_, err := r.engine.Read(ctx, opts, func(c db.Conn) error {
				_, err := collect(c, endless)
				return err
			})
			cancel()
			wantCode(t, fmt.Sprintf("endless read %+v", opts), err, controlplane.CodeDeadline)
		}
		if _, err := r.engine.Read(await(t), opts, func(c db.Conn) error { _, err := collect(c, "SELECT 1"); return err }); err != nil {
			t.Errorf("%+v after long ones: %v", opts, err)
		}
	}
}

func testUntil(t *testing.T, r *rig) {
	for _, opts := range []db.ReadOptions{{Level: db.Stale}, {}, {Level: db.Stale, Guarded: true}} {
		opts.Until = time.Now().Add(30 * time.Millisecond)
		_, err := r.engine.Read(await(t), opts, func(c db.Conn) error {
			_, err := collect(c, endless)
			return err
		})
		wantCode(t, fmt.Sprintf("endless read %+v", opts), err, controlplane.CodeDeadline)
	}
	for _, opts := range []db.ReadOptions{{Level: db.Stale}, {}, {Level: db.Stale, Short: true}, {Short: true}} {
		opts.MinIndex = r.engine.AppliedIndex() + 1000
		opts.Until = time.Now().Add(30 * time.Millisecond)
		_, err := r.engine.Read(await(t), opts, func(db.Conn) error {
			t.Errorf("%+v: the function was called", opts)
			return nil
		})
		wantCode(t, fmt.Sprintf("%+v", opts), err, controlplane.CodeDeadline)
	}
	for _, short := range []bool{false, true} {
		_, err := r.engine.Read(await(t), db.ReadOptions{Short: short, Until: time.Now().Add(time.Hour)}, func(db.Conn) error { return nil })
		if err != nil {
			t.Errorf("in time: %v", err)
		}
	}
}

func testManyReads(t *testing.T, r *rig) {
	r.apply(t, put(1, db.Int(1)))
	const readers = 50
	done := make(chan error, readers)
	ctx := await(t)
	for range readers {
		go func() {
			_, err := r.engine.Read(ctx, db.ReadOptions{}, func(c db.Conn) error {
				got, err := collect(c, "SELECT v FROM pairs")
				if err == nil && len(got) != 1 {
					err = fmt.Errorf("rows %v", got)
				}
				return err
			})
			done <- err
		}()
	}
	for range readers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
