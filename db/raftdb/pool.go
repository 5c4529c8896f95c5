package raftdb

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/raft-control-plane/control-plane"
)

// pool is a number of read-only connections to a database, opened as needed.
type pool struct {
	path    string
	guarded bool
	slots   chan *reader // nil: not opened yet
	closed  chan struct{}
}

func newPool(path string, size int, guarded bool) *pool {
	p := &pool{path: path, guarded: guarded, slots: make(chan *reader, size), closed: make(chan struct{})}
	for range size {
		p.slots <- nil
	}
	return p
}

// get waits for a free connection.
func (p *pool) get(ctx context.Context) (*reader, error) {
	select {
	case r := <-p.slots:
		return p.opened(r)
	case <-p.closed:
		return nil, errMemberStops
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// opened is what was taken from slots, opened if it is not yet.
func (p *pool) opened(r *reader) (*reader, error) {
	if r != nil {
		return r, nil
	}
	r, err := p.open()
	if err != nil {
		p.slots <- nil
	}
	return r, err
}

// busy is the error of who waited for a connection in vain.
func (p *pool) busy() error {
	return &controlplane.Error{Code: controlplane.CodeExhausted, RetryAfter: time.Second,
		Message: fmt.Sprintf("other reads took up all %d connections for as long as this one could wait: try again, or ask another member", cap(p.slots))}
}

func (p *pool) put(r *reader) { p.slots <- r }

// close waits until all connections are back, and closes them. Nobody gets one after it.
func (p *pool) close() {
	if p == nil {
		return
	}
	close(p.closed)
	for range cap(p.slots) {
		if r := <-p.slots; r != nil {
			_ = r.conn.Close()
		}
	}
}

const (
	sqlBegin = "BEGIN"
	sqlEnd   = "ROLLBACK"
	sqlIndex = "SELECT applied_index FROM raft_state"
)

func (p *pool) open() (*reader, error) {
	uri := (&url.URL{Scheme: "file", OmitHost: true, Path: p.path, RawQuery: "mode=ro"}).String()
	conn, err := sqlite.OpenConn(uri, sqlite.OpenReadOnly, sqlite.OpenURI)
	if err != nil {
		return nil, fmt.Errorf("open a reader: %w", err)
	}
	r := &reader{conn: conn, guarded: p.guarded}
	for _, pragma := range []string{"PRAGMA query_only = ON", "PRAGMA wal_autocheckpoint = 0"} {
		if err == nil {
			err = script(conn, pragma)
		}
	}
	if err == nil && p.guarded {
		err = guard(conn, &r.trusted)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open a reader: %w", err)
	}
	return r, nil
}

// begin starts a read transaction and returns the index of the state that it
// shows.
func (r *reader) begin() (uint64, error) {
	r.trusted = true
	defer func() { r.trusted = false }()
	if err := r.run(sqlBegin); err != nil {
		return 0, err
	}
	s, err := r.conn.Prepare(sqlIndex)
	if err != nil {
		return 0, err
	}
	defer s.Reset()
	if ok, err := s.Step(); err != nil || !ok {
		return 0, fmt.Errorf("read raft_state: %w", err)
	}
	return uint64(s.ColumnInt64(0)), nil
}

// hold is begin for reads that are not interrupted, which would end it: the statement that
// reads the index stands on its row, and SQLite shows one state until end resets it. BEGIN
// and ROLLBACK, which that saves, take as long as to find a task by its id.
func (r *reader) hold() (uint64, error) {
	s, err := r.conn.Prepare(sqlIndex)
	if err != nil {
		return 0, err
	}
	if ok, err := s.Step(); err != nil || !ok {
		return 0, fmt.Errorf("read raft_state: %w", err)
	}
	return uint64(s.ColumnInt64(0)), nil
}

// end ends the transaction, whatever became of it.
func (r *reader) end() {
	r.conn.SetInterrupt(nil)
	r.trusted = true
	defer func() { r.trusted = false }()
	if !r.conn.AutocommitEnabled() {
		_ = r.run(sqlEnd)
	}
}

func (r *reader) run(sql string) error {
	s, err := r.conn.Prepare(sql)
	if err != nil {
		return err
	}
	if _, err := s.Step(); err != nil {
		_ = s.Reset()
		return err
	}
	return s.Reset()
}
