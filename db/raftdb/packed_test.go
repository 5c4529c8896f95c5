package raftdb

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/klauspost/compress/s2"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

func TestPack(t *testing.T) {
	alike := bytes.Repeat([]byte("worker-1 COMPLETED "), packFrom/8)
	d := &database{}
	for what, tc := range map[string]struct {
		entry []byte
		kind  byte
	}{
		"short":                 {alike[:packFrom-1], kindEntry},
		"long":                  {alike, kindPacked},
		"long, nothing repeats": {noise("long", 2*packFrom), kindEntry},
	} {
		env, release := pack(7, tc.entry)
		sealed := env.seal()
		release()
		other, release := pack(8, bytes.Repeat([]byte("another "), packFrom)) // in the same memory
		defer release()
		env, err := openEnvelope(sealed)
		if err != nil || env.kind != tc.kind || env.term != 7 {
			t.Errorf("%s: %+v, %v", what, env, err)
			continue
		}
		got := env.body
		if env.kind == kindPacked {
			if got, err = d.unpack(env.body); err != nil || len(sealed) > len(tc.entry)/4 {
				t.Errorf("%s: %d bytes of %d, %v", what, len(sealed), len(tc.entry), err)
			}
		}
		if !bytes.Equal(got, tc.entry) {
			t.Errorf("%s: it is another entry when it is opened", what)
		}
		if _, err := d.unpack(other.body); err != nil {
			t.Error(err)
		}
	}
}

func TestUnpackBelievesNoSize(t *testing.T) {
	_, err := new(database).unpack([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0})
	if !errors.Is(err, db.ErrCorruptEntry) || !strings.Contains(err.Error(), "4294967295 bytes") {
		t.Error(err)
	}
}

// TestLongEntriesAreAppliedEverywhere has members apply entries that are packed, and others
// between them.
func TestLongEntriesAreAppliedEverywhere(t *testing.T) {
	members := newCluster(t, 3)
	lead := leader(t, members)
	for _, name := range []string{"first", "second"} {
		tasks := make([]*controlplane.Task, 100)
		for i := range tasks {
			tasks[i] = &controlplane.Task{Name: name, Function: &controlplane.Function{Name: "f", Payload: []byte(strings.Repeat(name, 50))}}
		}
		outcomes, err := lead.tasks.AddTasks(testContext(t), tasks)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outcomes {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
		}
		add(t, members, "between-"+name)
	}
	sameContent(t, members)
	want := []string{"100 " + strings.Repeat("first", 50), "100 " + strings.Repeat("second", 50)}
	for _, m := range members {
		got, err := column(t, m, "SELECT count(*) || ' ' || CAST(i.payload AS TEXT) FROM tasks t JOIN task_inputs i USING (seq) WHERE t.name <> '' GROUP BY i.payload")
		if err != nil || strings.Join(got, ",") != strings.Join(want, ",") {
			t.Errorf("%s has %q, %v", m.cfg.Name, got, err)
		}
		if packedEntries(t, m) < 2 {
			t.Errorf("the log of %s has no packed entries", m.cfg.Name)
		}
	}
}

// column reads one column of a member's state.
func column(t *testing.T, m *member, sql string) (all []string, err error) {
	_, err = m.engine.Read(testContext(t), db.ReadOptions{Level: db.Stale}, func(c db.Conn) error {
		r, err := c.Query(sql)
		if err != nil {
			return err
		}
		for r.Next() {
			all = append(all, r.Text(0))
		}
		return r.Close()
	})
	return all, err
}

// packedEntries counts those in a member's log.
func packedEntries(t *testing.T, m *member) (n int) {
	t.Helper()
	first, err := m.engine.wal.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	last, err := m.engine.wal.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for i := first; i <= last; i++ {
		var l raft.Log
		if err := m.engine.wal.GetLog(i, &l); err != nil {
			t.Fatal(err)
		}
		if l.Type == raft.LogCommand && l.Data[0] == kindPacked {
			n++
		}
	}
	return n
}

// FuzzUnpack unpacks anything: it is an entry or an error, and no size that it claims is
// believed.
func FuzzUnpack(f *testing.F) {
	f.Add(s2.Encode(nil, []byte("entry")))
	f.Add(s2.Encode(nil, bytes.Repeat([]byte("ab"), 5000)))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0})
	f.Add([]byte{})
	d := &database{}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := d.unpack(b)
		if err != nil {
			if !errors.Is(err, db.ErrCorruptEntry) {
				t.Errorf("%x: %v", b, err)
			}
			return
		}
		if want, err := s2.Decode(nil, b); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%x unpacks as %x, not %x, %v", b, got, want, err)
		}
	})
}
