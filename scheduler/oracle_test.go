package scheduler

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/migrations"
)

// oracle says, slowly and plainly, what a pass should have decided: on a copy of
// the state from before the pass it gives the pending tasks, by their queues' shares,
// priority and age, each to the first node of the SQL for the placement, and compares. It is
// hooked into the goroutine that makes entries.
type oracle struct {
	t        testing.TB
	conn     *sqlite.Conn
	selects  map[string]string // by placement: the best node for a class
	compared int               // placements

	// Of the pass under way.
	before  map[controlplane.Attempt]bool // attempts held
	retries map[int64]bool                // tasks that wait
	asking  map[string]bool
	// explained is the node that each class would go to by what is explained; nil if
	// the pass is not to be compared with that.
	explained map[classKey]string
}

func newOracle(t testing.TB) *oracle {
	t.Helper()
	conn, err := sqlite.OpenConn(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	all, err := migrations.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if err := sqlitex.ExecuteScript(conn, m.SQL, nil); err != nil {
			t.Fatal(err)
		}
	}
	o := &oracle{t: t, conn: conn, selects: map[string]string{}}
	for placement, file := range map[controlplane.Placement]string{controlplane.PlacementSpread: "node_select_least_loaded",
		controlplane.PlacementBinpack: "node_select_most_loaded", controlplane.PlacementCheapest: "node_select_cheapest"} {
		text, err := os.ReadFile("../db/query/" + file + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		o.selects[string(placement)] = string(text)
	}
	return o
}

func (o *oracle) hooks() hooks {
	return hooks{planned: o.beforePass, passed: o.afterPass, committed: o.compare}
}

func (o *oracle) beforePass(s *Scheduler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.before, o.retries = map[controlplane.Attempt]bool{}, map[int64]bool{}
	for _, a := range s.st.held {
		o.before[a.key()] = true
	}
	for _, r := range s.st.retries {
		o.retries[r.seq] = true
	}
	o.explained = nil
	if s.st.collecting || s.st.disturbed {
		return // what is collected changes what can be placed
	}
	s.st.at = s.st.now()
	o.explained = map[classKey]string{}
	for k, c := range s.st.classes {
		e := &controlplane.Explanation{}
		s.st.survey(e, c)
		o.explained[k] = e.NodeID
	}
}

// compareExplained compares a pass with what was explained before it: a task that was
// placed could be placed, and the only one went where it was said to go.
func (o *oracle) compareExplained(s *Scheduler, placed []*attempt) {
	for _, a := range placed {
		node, known := o.explained[classKey{a.Stream.ClassID, s.st.queueOf(&controlplane.Task{Queue: a.Stream.Queue}).Placement}]
		if known && (node == "" || len(placed) == 1 && node != a.NodeID) {
			o.t.Errorf("%s went to %s, and was explained to go to %q", a.TaskID, a.NodeID, node)
		}
	}
}

// afterPass notes who asked for work: that does not change by placements, but by
// what is collected before them.
func (o *oracle) afterPass(s *Scheduler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.asking = map[string]bool{}
	for id, n := range s.st.nodes {
		o.asking[id] = s.st.asks(n)
	}
}

// compare checks the pass of a group that is committed.
func (o *oracle) compare(s *Scheduler, g *db.Group, disturbed bool) {
	if disturbed || slices.ContainsFunc(g.Submissions, func(sub *db.Submission) bool { return sub.Task.Status.OnNode() && !sub.Stored }) {
		return // what was decided for tasks that are not there took room from others
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	got := map[string]string{}
	var placed []*attempt
	for id, a := range s.st.held {
		if !o.before[a.key()] {
			placed = append(placed, a)
			got[id] = a.NodeID
			if a.Status == controlplane.TaskAssigned && a.node.poll() != nil {
				o.t.Errorf("%s is assigned to %s although a poll of it waits", id, a.NodeID)
			}
		}
	}
	for _, r := range s.st.retries {
		delete(o.retries, r.seq)
	}
	o.compareExplained(s, placed)
	o.copyState(s, g.Index())
	for _, a := range placed {
		o.exec("UPDATE tasks SET status = 'PENDING' WHERE seq = ?1", a.Seq)
		o.exec("UPDATE node_gpus SET task_seq = NULL WHERE task_seq = ?1", a.Seq)
	}
	for seq := range o.retries { // due in this group, and not seen by its pass
		o.exec("UPDATE tasks SET status = 'LATER' WHERE seq = ?1 AND status = 'PENDING'", seq)
	}
	for id, asks := range o.asking {
		if !asks {
			o.exec("UPDATE nodes SET schedulable = 0 WHERE id = ?1", id)
		}
	}
	if want := o.decide(); !maps.Equal(got, want) {
		o.t.Errorf("the pass of entry %d has placed\n%s\nit should have placed\n%s", g.Index(), listed(got), listed(want))
	}
	o.compared += len(placed)
}

func listed(placed map[string]string) (out string) {
	for _, id := range sortedKeys(placed) {
		out += id + " on " + placed[id] + "; "
	}
	return out
}

// copyState copies what placement goes by, without what went back to its queue
// with the entry of the index given.
func (o *oracle) copyState(s *Scheduler, index uint64) {
	err := s.st.read(context.Background(), func(c db.Conn) error {
		for _, table := range []string{"nodes", "node_gpus", "tasks", "task_classes", "queues"} {
			o.exec("DELETE FROM " + table)
			if err := o.copyTable(c, table); err != nil {
				return err
			}
		}
		for _, seq := range queryRows(o.t, c, "SELECT j.value ->> 1 FROM event_log, json_each(body) j WHERE log_index = ?1 AND j.value ->> 0 = 'Q'", db.Int(int64(index))) {
			o.exec("UPDATE tasks SET status = 'LATER' WHERE seq = CAST(?1 AS INTEGER) AND status = 'PENDING'", seq)
		}
		return nil
	})
	if err != nil {
		o.t.Error(err)
	}
}

func (o *oracle) copyTable(c db.Conn, table string) error {
	cur, err := c.Query("SELECT * FROM " + table)
	if err != nil {
		return err
	}
	insert := "INSERT INTO " + table + " VALUES (?" + strings.Repeat(", ?", len(cur.Columns())-1) + ")"
	for cur.Next() {
		args := make([]any, len(cur.Columns()))
		for i := range args {
			switch v := cur.Value(i); v.Kind {
			case db.Integer:
				args[i] = v.Int
			case db.Text:
				args[i] = string(v.Bytes)
			case db.Null:
				args[i] = nil
			default:
				return fmt.Errorf("%s.%s: kind %d", table, cur.Columns()[i], v.Kind)
			}
		}
		o.exec(insert, args...)
	}
	return cur.Close()
}

func (o *oracle) exec(sql string, args ...any) (out [][]string) {
	err := sqlitex.Execute(o.conn, sql, &sqlitex.ExecOptions{Args: args, ResultFunc: func(st *sqlite.Stmt) error {
		row := make([]string, st.ColumnCount())
		for i := range row {
			row[i] = st.ColumnText(i)
		}
		out = append(out, row)
		return nil
	}})
	if err != nil {
		o.t.Errorf("%s: %v", sql, err)
	}
	return out
}

// decide places what waits: again and again the first task that can be placed of the
// queue that has the least for its weight.
func (o *oracle) decide() map[string]string {
	want := map[string]string{}
	for len(want) < maxPlacements {
		id, node := o.first()
		if id == "" {
			break
		}
		o.exec("UPDATE tasks SET status = 'RUNNING', node_id = ?2 WHERE id = ?1", id, node)
		o.exec(`UPDATE node_gpus SET task_seq = (SELECT seq FROM tasks WHERE id = ?1)
			WHERE node_id = ?2 AND device_index IN (
			  SELECT g.device_index FROM v_eligible_gpus g JOIN tasks t ON t.id = ?1 AND t.class_id = g.class_id
			  WHERE g.node_id = ?2 AND g.task_seq IS NULL ORDER BY g.memory_bytes, g.device_index
			  LIMIT (SELECT c.gpus FROM tasks t JOIN task_classes c ON c.id = t.class_id WHERE t.id = ?1))`, id, node)
		want[id] = node
	}
	return want
}
