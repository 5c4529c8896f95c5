package raftdb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/migrations"
)

// releaseOf is a release that knows migrations up to a version, of which those that
// this one lacks are made up.
func releaseOf(version int) []migrations.Migration {
	all, err := migrations.All()
	if err != nil {
		panic(err)
	}
	for n := len(all) + 1; n <= version; n++ {
		all = append(all, migrations.Migration{Version: n, Name: fmt.Sprintf("made_up_%d", n),
			SQL: fmt.Sprintf("CREATE TABLE made_up_%d (n INTEGER PRIMARY KEY) STRICT; INSERT INTO made_up_%d SELECT max(seq) FROM tasks;", n, n)})
	}
	return all[:version]
}

var now = db.SchemaVersion()

// next is a member of the release after this one.
func (m *member) next() *member {
	m.cfg.SchemaVersion = now + 1
	return m
}

// version is the schema version of a member's state.
func (m *member) version() int { return m.engine.schemaVersion() }

func TestAMigrationWaitsForAllMembers(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	for i, m := range members { // one after the other, the leader in its turn
		m.close()
		add(t, members, fmt.Sprint("without", i))
		if err := m.next().tryStart(); err != nil {
			t.Fatal(err)
		}
		add(t, members, fmt.Sprint("with", i))
		if i == len(members)-1 {
			break
		}
		lead := leader(t, members)
		for _, m := range members {
			if err := m.engine.AwaitApplied(testContext(t), lead.engine.AppliedIndex()); err != nil {
				t.Fatal(err)
			}
			if v := m.version(); v != now {
				t.Fatalf("%s is at schema version %d after %d of 3 were upgraded", m.cfg.Name, v, i+1)
			}
		}
		// Let an upgraded member lead while others are not: it must hold back.
		if lead != m {
			until(t, "a change of leaders", func() bool {
				_, err := leader(t, members).engine.TransferLeadership(testContext(t), m.cfg.Name)
				return err == nil
			})
			leader(t, []*member{m})
			time.Sleep(3 * time.Second / 2) // longer than the interval at which it asks
			if v := m.version(); v != now {
				t.Fatalf("%s migrated to %d although others do not know it", m.cfg.Name, v)
			}
		}
	}
	until(t, "the migration", func() bool { return leader(t, members).version() == now+1 })
	add(t, members, "last")
	sameContent(t, members)
	for _, m := range members {
		if v := m.version(); v != now+1 {
			t.Errorf("%s is at schema version %d", m.cfg.Name, v)
		}
	}
}

func TestASilentMemberHoldsBackAMigration(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	for _, m := range members {
		m.close()
	}
	for _, m := range members[:2] {
		if err := m.next().tryStart(); err != nil {
			t.Fatal(err)
		}
	}
	add(t, members, "b")
	lead := leader(t, members)
	s, err := lead.engine.Schema(testContext(t))
	if err != nil || s.Version != now+1 || len(s.Silent) != 1 || s.Silent[0] != members[2].cfg.Advertise {
		t.Errorf("schema: %+v, %v; want %d and one silent", s, err, now+1)
	}
	if v := lead.version(); v != now {
		t.Errorf("migrated to %d without %s", v, members[2].cfg.Name)
	}
	if err := lead.engine.RemoveMember(testContext(t), members[2].cfg.Name); err != nil {
		t.Fatal(err)
	}
	until(t, "the migration", func() bool { return leader(t, members).version() == now+1 })

	// Another of the earlier release may not take its place.
	late := newMember(t, "m9")
	late.cfg.Join = []string{members[0].cfg.Advertise, members[1].cfg.Advertise}
	late.start()
	if err := late.engine.join(testContext(t)); err == nil || !strings.Contains(err.Error(), "upgrade it") {
		t.Errorf("a member of an earlier release joins: %v", err)
	}
}

func TestAStateOfALaterReleaseIsRefused(t *testing.T) {
	m := newMember(t, "m1").next().start()
	add(t, []*member{m}, "a")
	m.close()
	m.cfg.SchemaVersion = now
	err := m.tryStart()
	if !errors.Is(err, errUpgrade) || !strings.Contains(err.Error(), fmt.Sprintf("version %d", now+1)) || !strings.Contains(err.Error(), "its state is kept") {
		t.Errorf("started by an earlier release: %v", err)
	}
	if err := m.next().tryStart(); err != nil {
		t.Errorf("started by its own release: %v", err)
	}
	add(t, []*member{m}, "b")
}

func TestAMigrationThatIsNotKnownIsNotApplied(t *testing.T) {
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a")
	m.stop()
	m.ran <- <-m.ran
	d := m.engine.fsm.state
	before := d.meta.appliedIndex
	next := releaseOf(now + 1)[now]
	entry := db.Entry{StampMs: 1, Ops: []*db.Op{{Savepoint: true, Steps: []db.Step{
		{SQL: "INSERT INTO schema_migrations (version, name, time_ms) VALUES (?1, ?2, 1)", Args: []db.Value{db.Int(int64(next.Version)), db.Str(next.Name)}},
		{SQL: next.SQL, Script: true}}}}}
	l := &raft.Log{Index: before + 1, Term: 9, Type: raft.LogCommand, Data: envelope{kind: kindEntry, term: 9, body: entry.Encode(nil)}.seal()}
	if err := d.apply([]*raft.Log{l}, make([]any, 1)); !errors.Is(err, errUpgrade) {
		t.Errorf("applied: %v", err)
	}
	if d.meta.appliedIndex != before || m.version() != now {
		t.Errorf("at index %d and schema version %d, want %d and %d", d.meta.appliedIndex, m.version(), before, now)
	}
}

func TestAnotherSQLiteIsTold(t *testing.T) {
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a")
	m.stop()
	m.ran <- <-m.ran // it no longer leads; close looks again
	if err := script(m.engine.fsm.state.conn, "UPDATE raft_state SET sqlite_version = '3.1.4'"); err != nil {
		t.Fatal(err)
	}
	m.close()
	var log bytes.Buffer
	m.cfg.Logger = textLogger(&log)
	for _, want := range []bool{true, false} { // once for each change
		log.Reset()
		if err := m.tryStart(); err != nil {
			t.Fatal(err)
		}
		add(t, []*member{m}, fmt.Sprint(want))
		m.close()
		if told := strings.Contains(log.String(), "another release of SQLite") && strings.Contains(log.String(), "3.1.4"); told != want {
			t.Errorf("told: %v, want %v: %s", told, want, log.String())
		}
	}
}

// textLogger logs to a buffer.
func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func TestTracesAreLeftOutUntilTheSchemaHasThem(t *testing.T) {
	trace := controlplane.TraceContext{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", State: "a=1"}
	m := newMember(t, "m1")
	kept := func(id string) controlplane.TraceContext {
		leader(t, []*member{m})
		if err := m.tasks.AwaitWritable(testContext(t)); err != nil {
			t.Fatal(err)
		}
		_, err := m.tasks.AddTask(testContext(t), &controlplane.Task{ID: id, Exec: &controlplane.Exec{Command: []string{"true"}}, Trace: trace})
		if err != nil {
			t.Fatal(err)
		}
		stored, err := m.tasks.GetTask(testContext(t), id)
		if err != nil {
			t.Fatal(err)
		}
		return stored.Trace
	}
	m.cfg.SchemaVersion = 1
	if got := kept(m.start().cfg.Name + "-before"); got != (controlplane.TraceContext{}) {
		t.Errorf("at schema version 1 it kept %+v", got)
	}
	m.close()
	m.cfg.SchemaVersion = 0
	if got := kept(m.start().cfg.Name + "-after"); got != trace {
		t.Errorf("at schema version %d it kept %+v", now, got)
	}
}
