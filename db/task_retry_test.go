package db

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// TestRetryFacts finds the end of each task, among others of the same time and where
// some were deleted; and also where the times are in no order.
func TestRetryFacts(t *testing.T) {
	for _, ordered := range []bool{true, false} {
		conn := openSchema(t)
		r := rand.New(rand.NewPCG(1, 2))
		ends, ms := map[int64]int64{}, map[int64]int64{}
		now := int64(1_700_000_000_000)
		for number := int64(1); number <= 500; number++ {
			if now += r.Int64N(3) / 2; !ordered {
				now = r.Int64N(1000)
			}
			seq := number*7%503 + 1
			if number < 40 || r.IntN(5) == 0 {
				continue // deleted
			}
			ends[seq], ms[seq] = number, now
			execute(t, conn, fmt.Sprintf(`INSERT INTO tasks (seq, id, queue, priority, class_id, max_attempts, max_lost_attempts, status, attempt, create_time_ms, end_time_ms)
				VALUES (%d, 't%d', 'q', 0, 1, 1, 1, 'FAILED', 1, 1, %d); INSERT INTO task_end_groups VALUES (%d, json_array(%d))`, seq, seq, now, number, seq))
		}
		for seq, want := range ends {
			got := int64(0)
			err := sqlitex.Execute(conn, sqlTaskRetryFacts, &sqlitex.ExecOptions{Args: []any{seq, 1, ms[seq]},
				ResultFunc: func(s *sqlite.Stmt) error { got = s.ColumnInt64(0); return nil }})
			if err != nil || got != want {
				t.Fatalf("in order %v: the end of %d is %d, found %d, %v", ordered, seq, want, got, err)
			}
		}
	}
}

func execute(t *testing.T, conn *sqlite.Conn, script string) {
	t.Helper()
	if err := sqlitex.ExecuteScript(conn, script, nil); err != nil {
		t.Fatal(err)
	}
}
