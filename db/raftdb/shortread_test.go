package raftdb

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var short = db.ReadOptions{Short: true}

// Reads that share a transaction each have their own rows and their own error, and a panic
// is that of its caller.
func TestShortReadsKeepApart(t *testing.T) {
	e := newMember(t, "solo").start().engine
	mine := errors.New("mine")
	var all sync.WaitGroup
	for i := range 500 {
		all.Go(func() {
			defer func() {
				if got := recover(); (got != nil) != (i%10 == 9) || got != nil && got != i {
					t.Errorf("read %d panics with %v", i, got)
				}
			}()
			var got int64
			_, err := e.Read(context.Background(), short, func(c db.Conn) error {
				r, err := c.Query("SELECT ?1 + 1", db.Int(int64(i)))
				if err != nil {
					return err
				}
				r.Next()
				got = r.Int(0)
				switch i % 10 {
				case 8:
					return errors.Join(mine, r.Close())
				case 9:
					panic(i) // and the cursor is open
				}
				return r.Close()
			})
			if got != int64(i)+1 || errors.Is(err, mine) != (i%10 == 8) || err != nil && i%10 != 8 {
				t.Errorf("read %d: %d, %v", i, got, err)
			}
		})
	}
	all.Wait()
}

// A read whose caller has given up is not run any more.
func TestShortReadGivenUp(t *testing.T) {
	e := newMember(t, "solo").start().engine
	release, full := make(chan struct{}), make(chan struct{}, readers)
	var all sync.WaitGroup
	for range readers { // all connections
		all.Go(func() {
			_, err := e.Read(context.Background(), db.ReadOptions{Level: db.Stale}, func(db.Conn) error {
				full <- struct{}{}
				<-release
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range readers {
		<-full
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	for _, gone := range []struct {
		ctx  context.Context
		opts db.ReadOptions
	}{
		{ctx, db.ReadOptions{Level: db.Stale, Short: true}},
		{context.Background(), db.ReadOptions{Level: db.Stale, Short: true, Until: time.Now().Add(10 * time.Millisecond)}},
		{context.Background(), db.ReadOptions{Short: true, Until: time.Now().Add(10 * time.Millisecond)}},
	} {
		_, err := e.Read(gone.ctx, gone.opts, func(db.Conn) error {
			t.Error("it was run")
			return nil
		})
		if code := controlplane.CodeOf(err); code != controlplane.CodeDeadline && (code != controlplane.CodeUnavailable || gone.opts.Level == db.Stale) {
			t.Errorf("%+v: %v", gone.opts, err)
		}
	}
	close(release)
	all.Wait()
	if _, err := e.Read(context.Background(), short, func(db.Conn) error { return nil }); err != nil {
		t.Error(err)
	}
}

// Reads end when the member stops, with an answer or an error.
func TestShortReadsEndWithTheMember(t *testing.T) {
	e := newMember(t, "solo").start().engine
	begun := make(chan struct{}, 1)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				_, err := e.Read(context.Background(), db.ReadOptions{Level: db.Stale, Short: true}, func(db.Conn) error { return nil })
				if err != nil {
					if controlplane.CodeOf(err) != controlplane.CodeUnavailable {
						t.Errorf("got %v", err)
					}
					return
				}
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	<-begun
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
}

// A read without a deadline ends, too, at a member that is closed.
func TestReadsOfAClosedMemberEnd(t *testing.T) {
	m := newMember(t, "solo").start()
	e := m.engine
	m.close()
	for _, opts := range []db.ReadOptions{{Level: db.Stale}, {Level: db.Stale, Short: true}, {Level: db.Stale, Guarded: true}} {
		_, err := e.Read(context.Background(), opts, func(db.Conn) error {
			t.Error("it was run")
			return nil
		})
		if controlplane.CodeOf(err) != controlplane.CodeUnavailable {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

// A read at a follower whose leader is gone waits for the next one, as other reads do.
func TestShortReadsOutliveALeader(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	leader(t, members).close()
	var all sync.WaitGroup
	for _, m := range members {
		if m.engine == nil {
			continue
		}
		all.Go(func() {
			_, err := m.engine.Read(testContext(t), short, func(c db.Conn) error {
				r, err := c.Query("SELECT id FROM tasks")
				if err != nil {
					return err
				}
				if !r.Next() || r.Text(0) != "a" {
					t.Errorf("%s does not read the task", m.cfg.Name)
				}
				return r.Close()
			})
			if err != nil {
				t.Errorf("%s: %v", m.cfg.Name, err)
			}
		})
	}
	all.Wait()
}

// Who was the only voter once asks the others before it reads.
func TestOnlyTheOnlyVoterAsksNobody(t *testing.T) {
	solo := newMember(t, "solo").start()
	add(t, []*member{solo}, "a")
	nothing := func(db.Conn) error { return nil }
	if _, err := solo.engine.Read(testContext(t), short, nothing); err != nil || !solo.engine.short.alone.Load() {
		t.Errorf("a read at the only member: %v; it knows that it is: %t", err, solo.engine.short.alone.Load())
	}

	members := newCluster(t, 3)
	add(t, members, "a")
	e := leader(t, members).engine
	r := &shortRead{fn: nothing, ifAlone: true, done: make(chan struct{})}
	e.short.alone.Store(true) // as if it had been
	if certain := e.short.certain([]*shortRead{r}); len(certain) != 0 || e.short.alone.Load() {
		t.Error("one of three reads without asking anybody")
	} else if _, err := r.await(testContext(t), time.Time{}); !errors.Is(err, errNotConfirmed) {
		t.Errorf("a read that cannot go on ends with %v", err)
	}
	e.short.alone.Store(true)
	if _, err := e.Read(testContext(t), short, nothing); err != nil {
		t.Errorf("a read at one of three that takes itself for the only one: %v", err)
	}
}
