package raftdb

import (
	"slices"
	"testing"
)

// A run that has begun serves nobody who comes later: what it says may be older than what
// they were told before.
func TestReadsGoOnAfterARunThatBeginsLater(t *testing.T) {
	begun, end := make(chan uint64), make(chan struct{})
	runs := uint64(0) // of the coalescer's one goroutine
	type outcome struct {
		reads []*shortRead
		run   uint64
	}
	over := make(chan outcome)
	c := newCoalescer(func() (uint64, error) {
		runs++
		begun <- runs
		<-end
		return runs, nil
	}, func(reads []*shortRead, run uint64, _ error) { over <- outcome{reads, run} })

	first, second, third := &shortRead{}, &shortRead{}, &shortRead{}
	c.add(first)
	<-begun
	c.add(second)
	c.add(third)
	end <- struct{}{}
	if got := <-over; got.run != 1 || !slices.Equal(got.reads, []*shortRead{first}) {
		t.Errorf("run %d served %d reads, want the first run and the first read", got.run, len(got.reads))
	}
	<-begun
	end <- struct{}{}
	if got := <-over; got.run != 2 || !slices.Equal(got.reads, []*shortRead{second, third}) {
		t.Errorf("run %d served %d reads, want the second run and the other two", got.run, len(got.reads))
	}
}
