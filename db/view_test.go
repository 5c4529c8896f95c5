package db

import (
	"fmt"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// someHistory is two queues with a task of each kind: "retried" failed once, was
// lost once and runs; "failed" used up its attempts; "poison" was lost for good.
const someHistory = `
INSERT INTO task_classes VALUES (1, 2000, 100, 0, 1, '{}', '', '{}'), (2, 500, 50, 0, 0, '{}', '', '{}');
INSERT INTO nodes (id, session_id, status, slots, cpu_millis, memory_bytes, disk_bytes, gpus, exec, spot, price_micros_per_hour, create_time_ms, heartbeat_time_ms)
VALUES ('n1', 's', 'HEALTHY', 4, 8000, 1000, 0, 2, 1, 0, 0, 1, 1), ('n2', 's', 'UNHEALTHY', 4, 8000, 1000, 0, 0, 1, 0, 0, 1, 1);
INSERT INTO tasks (seq, id, queue, priority, class_id, max_attempts, max_lost_attempts, status, node_id, attempt, create_time_ms, end_time_ms, exit_code, error)
VALUES (1, 'retried',  'train', 0, 1, 3, 3, 'RUNNING',   'n1', 3, 10, NULL, NULL, NULL),
       (2, 'failed',   'train', 0, 2, 1, 3, 'FAILED',    'n1', 1, 20, 500,  7,    'exit code 7'),
       (3, 'poison',   'serve', 0, 2, 3, 1, 'FAILED',    'n2', 1, 30, 700,  NULL, 'lost for good'),
       (4, 'waiting',  'serve', 0, 2, 3, 3, 'PENDING',   NULL, 0, 40, NULL, NULL, NULL),
       (5, 'waiting2', 'serve', 0, 2, 3, 3, 'PENDING',   NULL, 0, 50, NULL, NULL, NULL),
       (6, 'assigned', 'serve', 0, 2, 3, 3, 'ASSIGNED',  'n1', 1, 60, NULL, NULL, NULL),
       (7, 'done',     'serve', 0, 2, 3, 3, 'COMPLETED', 'n1', 1, 70, 800,  0,    NULL),
       (8, 'stopped',  'train', 0, 2, 3, 3, 'CANCELLED', NULL, 0, 80, 900,  NULL, NULL);
INSERT INTO past_attempts (seq, attempt, node_id, status, end_time_ms, exit_code, error)
VALUES (1, 1, 'n1', 'FAILED', 400, 1, 'exit code 1'), (1, 2, 'n2', 'LOST', 600, NULL, 'lost'),
       (3, 1, 'n2', 'LOST', 700, NULL, 'lost for good'), (7, 9, 'n1', 'RELEASED', 650, NULL, 'drained');
`

func TestViewsAnswerWhatPeopleAsk(t *testing.T) {
	conn := openSchema(t)
	if err := sqlitex.ExecuteScript(conn, someHistory, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ sql, want string }{
		{"SELECT * FROM v_queue_counts ORDER BY name", "serve 5 2 1 0 1 1 0\ntrain 3 0 0 1 0 1 1"},
		{"SELECT name, weight, implicit, pending_tasks, running_tasks, used_cpu_millis, used_gpus, dominant_share_millionths FROM v_queues ORDER BY name",
			"default 1 0 0 0 0 0 0\nserve 1 1 2 1 500 0 250000\ntrain 1 1 0 1 2000 1 500000"},
		{"SELECT * FROM v_queue_depth ORDER BY queue, status", "serve ASSIGNED 1 60\nserve PENDING 2 40\ntrain RUNNING 1 10"},
		{"SELECT node_id, running_tasks, reserved_cpu_millis, reserved_memory_bytes, reserved_gpus FROM v_node_load ORDER BY node_id",
			"n1 2 2500 150 1\nn2 0 0 0 0"},
		{"SELECT end_time_ms, task_id, attempt, node_id, status, coalesce(exit_code, '-'), error, final FROM v_recent_failures",
			"700 poison 1 n2 LOST - lost for good 1\n600 retried 2 n2 LOST - lost 0\n500 failed 1 n1 FAILED 7 exit code 7 1\n400 retried 1 n1 FAILED 1 exit code 1 0"},
		{"SELECT task_id, attempt, status FROM attempts ORDER BY task_seq, attempt",
			"retried 1 FAILED\nretried 2 LOST\nretried 3 RUNNING\nfailed 1 FAILED\npoison 1 LOST\nassigned 1 ASSIGNED\ndone 1 COMPLETED\ndone 9 RELEASED"},
	} {
		if got := table(t, conn, c.sql); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.sql, got, c.want)
		}
	}
}

func TestRecentFailuresAreBounded(t *testing.T) {
	conn := openSchema(t)
	const many = someHistory + `
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
INSERT INTO past_attempts (seq, attempt, status, end_time_ms) SELECT 1, 10 + i, 'FAILED', 1000 + i FROM n;`
	if err := sqlitex.ExecuteScript(conn, many, nil); err != nil {
		t.Fatal(err)
	}
	if got := table(t, conn, "SELECT count(*), min(end_time_ms), max(end_time_ms) FROM v_recent_failures"); got != "1000 1501 2500" {
		t.Errorf("%s", got)
	}
}

func table(t *testing.T, conn *sqlite.Conn, sql string) string {
	t.Helper()
	var lines []string
	err := run(conn, sql, func(s *sqlite.Stmt) {
		cells := make([]string, s.ColumnCount())
		for i := range cells {
			cells[i] = s.ColumnText(i)
		}
		lines = append(lines, strings.Join(cells, " "))
	})
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", sql, err))
	}
	return strings.Join(lines, "\n")
}
