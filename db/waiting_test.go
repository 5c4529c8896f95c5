package db

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// lineup is waiting items that are known by the order in which they came.
type lineup struct {
	waiting
	t     *testing.T
	names map[Item]string
}

func newLineup(t *testing.T) *lineup { return &lineup{t: t, names: map[Item]string{}} }

// goOn lets n items of work that goes on in, new n items of new work, of so many operations
// and bytes each.
func (l *lineup) goOn(n, ops, size int) {
	l.t.Helper()
	for i := range n {
		it := &simple{ops: ops, bytes: size}
		if err := l.add(it, time.Time{}); err != nil {
			l.t.Fatalf("old %d: %v", i, err)
		}
		l.names[it] = fmt.Sprint("old", i)
	}
}

func (l *lineup) new(n, ops, size int) {
	l.t.Helper()
	for i := range n {
		it := &simple{ops: ops, bytes: size}
		if err := l.addAll([]*simple{it}, time.Time{}); err != nil {
			l.t.Fatalf("new %d: %v", i, err)
		}
		l.names[it] = fmt.Sprint("new", i)
	}
}

// takes checks what the next entries take: how many of each line, and the first of each.
func (l *lineup) takes(entries ...string) {
	l.t.Helper()
	for i, want := range entries {
		counts, firsts := map[string]int{}, ""
		items, _ := l.take(time.Now())
		for _, it := range items {
			name := l.names[it]
			if counts[name[:3]]++; counts[name[:3]] == 1 {
				firsts += " " + name
			}
		}
		if got := fmt.Sprintf("%d old, %d new:%s", counts["old"], counts["new"], firsts); got != want {
			l.t.Errorf("entry %d takes %s; want %s", i, got, want)
		}
	}
	if l.len() != 0 || l.bytes() != 0 {
		l.t.Errorf("left: %d items, %d bytes", l.len(), l.bytes())
	}
}

func TestWorkThatGoesOnComesFirst(t *testing.T) {
	l := newLineup(t)
	l.new(2000, 1, 10)
	l.goOn(3, 4, 10)
	l.takes("3 old, 200 new: old0 new0", // an entry that running tasks wait for is short
		"0 old, 1024 new: new200", "0 old, 776 new: new1224", "0 old, 0 new:")
}

// renewal is an item that keeps a lease.
type renewal struct{ *simple }

func (renewal) Patience() time.Duration { return time.Second }

func TestRenewalsOvertakeResults(t *testing.T) {
	var w waiting
	for i := range 2000 {
		var it Item = &simple{ops: 1, bytes: 10}
		if i >= 1400 { // behind all that fits into an entry
			it = renewal{&simple{ops: 1, bytes: 10}}
		}
		if err := w.add(it, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []int{512, 88, 0} { // half of an entry at most: tasks end all the same
		renewed := 0
		items, _ := w.take(time.Now())
		for _, it := range items {
			if _, ok := it.(renewal); ok {
				renewed++
			}
		}
		if renewed != want || i == 0 && len(items) != maxGroupOps {
			t.Errorf("entry %d renews %d leases of %d items; want %d", i, renewed, len(items), want)
		}
	}
	if w.len() != 0 || w.bytes() != 0 {
		t.Errorf("left: %d items, %d bytes", w.len(), w.bytes())
	}
}

func TestNewWorkIsNotHeldUpByRenewals(t *testing.T) {
	l := newLineup(t)
	l.new(2000, 1, 10)
	if err := l.add(renewal{&simple{ops: 1, bytes: 10}}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if items, _ := l.take(time.Now()); len(items) != maxGroupOps {
		t.Errorf("an entry with a renewal takes %d", len(items))
	}
}

func TestNewWorkIsNotStarved(t *testing.T) {
	l := newLineup(t)
	l.goOn(2000, 1, 10)
	l.new(600, 1, 10)
	l.takes("512 old, 200 new: old0 new0", "512 old, 200 new: old512 new200", "512 old, 200 new: old1024 new400", "464 old, 0 new: old1536")
}

func TestOneThatIsTooLargeGoesAllTheSame(t *testing.T) {
	l := newLineup(t)
	l.goOn(2, 5000, 10)
	l.new(2, 5000, 7<<20)
	l.takes("1 old, 1 new: old0 new0", "1 old, 1 new: old1 new1")
}

func TestAnEntryIsBoundedInBytes(t *testing.T) {
	l := newLineup(t)
	l.goOn(6, 1, 1<<20)
	l.new(6, 1, 1<<20)
	l.takes("4 old, 4 new: old0 new0", "2 old, 2 new: old4 new4")
}

// TestTooMuchNewWorkIsRefused fills the part of the queue that new work has, by number, by
// bytes and by how long it waits: work that goes on is let in all the same.
func TestTooMuchNewWorkIsRefused(t *testing.T) {
	begun := time.Now()
	one := func() []*simple { return []*simple{{ops: 1, bytes: 1}} }
	for name, c := range map[string]struct {
		items, bytes int
		after        time.Duration
	}{
		"number": {maxQueueItems / newWorkShare, 1, 0},
		"bytes":  {16, 1 << 20, 0},
		"time":   {1, 1, newWorkWait + 1},
	} {
		var w waiting
		for range c.items {
			if err := w.addAll([]*simple{{ops: 1, bytes: c.bytes}}, begun); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		err := w.addAll(one(), begun.Add(c.after))
		if e := (*controlplane.Error)(nil); !errors.As(err, &e) || e.Code != controlplane.CodeExhausted || e.RetryAfter != queueRetryAfter {
			t.Errorf("%s: %v", name, err)
		}
		if n := w.len(); n != c.items {
			t.Errorf("%s: %d wait", name, n)
		}
		if err := w.add(&simple{ops: 1, bytes: 1}, begun.Add(c.after)); err != nil {
			t.Errorf("%s: work that goes on: %v", name, err)
		}
		w.take(time.Now())
		if err := w.addAll(one(), begun.Add(c.after)); err != nil {
			t.Errorf("%s: when there is room again: %v", name, err)
		}
	}
}

func TestTheQueueIsBoundedAsAWhole(t *testing.T) {
	l := newLineup(t)
	l.goOn(maxQueueItems, 1, 1)
	if err := l.add(&simple{ops: 1, bytes: 1}, time.Time{}); controlplane.CodeOf(err) != controlplane.CodeExhausted {
		t.Error(err)
	}
	if n := len(l.clear()); n != maxQueueItems || l.len() != 0 || l.bytes() != 0 {
		t.Errorf("%d were cleared, %d left", n, l.len())
	}
}
