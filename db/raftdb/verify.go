package raftdb

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// tableHashes are the hashes of all tables, by name.
type tableHashes = map[string]string

// Verify has every member hash its content at one and the same log index, while
// writes go on. It waits for all members until ctx ends. It works on the leader
// only.
func (e *Engine) Verify(ctx context.Context) (controlplane.Verification, error) {
	s := e.leader.serving()
	if s == nil {
		return controlplane.Verification{}, e.notLeading()
	}
	out, index, err := e.commit(ctx, envelope{kind: kindVerify, term: s.term})
	if err == nil && out.err != nil {
		err = e.notLeading()
	}
	if err != nil {
		return controlplane.Verification{}, err
	}
	servers := e.servers()
	v := controlplane.Verification{Index: index, Members: make([]controlplane.MemberContent, len(servers))}
	var wg sync.WaitGroup
	for i, server := range servers {
		wg.Go(func() {
			m := &v.Members[i]
			m.Name = nameOf(server.ID)
			if server.ID == e.self.serverID() {
				m.Tables, m.Err = e.fsm.hashes.await(ctx, index)
				return
			}
			m.Err = e.peers.call(ctx, string(server.Address), http.MethodGet, fmt.Sprintf("/raft/hash?index=%d", index), nil, &m.Tables)
		})
	}
	wg.Wait()
	slices.SortFunc(v.Members, func(a, b controlplane.MemberContent) int { return strings.Compare(a.Name, b.Name) })
	return v, nil
}

// hashes are those that this member has computed or is computing.
type hashes struct {
	mu  sync.Mutex
	all map[uint64]*contentSum
}

type contentSum struct {
	done   chan struct{}
	tables tableHashes
	err    error
}

// keepHashes is for how long a hash can be asked for.
const keepHashes = 10 * time.Minute

// start begins to hash the state as it is now. Only what pins that state happens
// before it returns: it is called between two log entries.
func (h *hashes) start(d *database, index uint64) {
	sum := h.get(index)
	r, err := pinned(d)
	if err != nil {
		sum.finish(nil, err)
		return
	}
	go func() {
		defer func() { _ = r.conn.Close() }()
		defer r.end()
		sum.finish(hashTables(r.conn))
	}()
}

// pinned opens a connection of its own that shows the state as it is now.
func pinned(d *database) (*reader, error) {
	r, err := (&pool{path: d.gen.database()}).open()
	if err != nil {
		return nil, err
	}
	if _, err := r.begin(); err != nil {
		_ = r.conn.Close()
		return nil, err
	}
	return r, nil
}

func (h *hashes) get(index uint64) *contentSum {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[uint64]*contentSum{}
	}
	s := h.all[index]
	if s == nil {
		s = &contentSum{done: make(chan struct{})}
		h.all[index] = s
		time.AfterFunc(keepHashes, func() { h.forget(index) }) // also if it never comes
	}
	return s
}

func (h *hashes) forget(index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, index)
}

func (s *contentSum) finish(tables tableHashes, err error) {
	s.tables, s.err = tables, err
	close(s.done)
}

// await waits for the hash of an index, which this member may not have applied
// yet.
func (h *hashes) await(ctx context.Context, index uint64) (tableHashes, error) {
	s := h.get(index)
	select {
	case <-s.done:
		return s.tables, s.err
	case <-ctx.Done():
		return nil, fmt.Errorf("hash at index %d: %w", index, ctx.Err())
	}
}

// hashTables hashes every table. Of raft_state only what replicas share counts.
func hashTables(conn *sqlite.Conn) (tableHashes, error) {
	names, err := texts(conn, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
	if err != nil {
		return nil, err
	}
	sums := tableHashes{}
	for _, name := range names {
		sum := sha256.New()
		if err := hashRows(conn, name, sum); err != nil {
			return nil, fmt.Errorf("hash table %s: %w", name, err)
		}
		sums[name] = hex.EncodeToString(sum.Sum(nil)[:16])
	}
	return sums, nil
}

func hashRows(conn *sqlite.Conn, table string, sum hash.Hash) error {
	columns, order := "*", "rowid"
	if table == "raft_state" {
		columns = "applied_index, applied_term, cluster_id, clock_ms"
	} else {
		key, err := texts(conn, "SELECT name FROM pragma_table_info('"+table+"') WHERE pk > 0 ORDER BY pk")
		if err != nil {
			return err
		}
		if len(key) > 0 {
			order = strings.Join(key, ", ")
		}
	}
	s, _, err := conn.PrepareTransient("SELECT " + columns + " FROM " + table + " ORDER BY " + order)
	if err != nil {
		return err
	}
	defer func() { _ = s.Finalize() }()
	var buf []byte
	for {
		row, err := s.Step()
		if err != nil || !row {
			return err
		}
		buf = buf[:0]
		for i := range s.ColumnCount() {
			v := (&cursor{stmt: s}).Value(i)
			buf = append(buf, byte(v.Kind))
			switch v.Kind {
			case db.Integer:
				buf = binary.AppendVarint(buf, v.Int)
			default:
				text := v.String()
				buf = binary.AppendUvarint(buf, uint64(len(text)))
				buf = append(buf, text...)
			}
		}
		sum.Write(buf)
	}
}

func texts(conn *sqlite.Conn, sql string) (list []string, err error) {
	s, _, err := conn.PrepareTransient(sql)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Finalize() }()
	for {
		row, err := s.Step()
		if err != nil || !row {
			return list, err
		}
		list = append(list, s.ColumnText(0))
	}
}
