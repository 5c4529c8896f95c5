package raftdb

import (
	"context"
	"sync"
)

// coalescer runs a function for many callers at once: those that arrive while it
// runs share the next run. A run that serves a caller has begun after the caller
// arrived.
type coalescer struct {
	run func() (uint64, error)
	// then is given what was added to a run, once that is over.
	then func(reads []*shortRead, value uint64, err error)

	mu      sync.Mutex
	running bool
	next    *round
}

type round struct {
	done  chan struct{}
	reads []*shortRead
	value uint64
	err   error
}

func newCoalescer(run func() (uint64, error), then func([]*shortRead, uint64, error)) *coalescer {
	return &coalescer{run: run, then: then}
}

// soon returns a run that begins from now on. mu is held.
func (c *coalescer) soon() *round {
	if c.next == nil {
		c.next = &round{done: make(chan struct{})}
	}
	if !c.running {
		c.running = true
		go c.loop()
	}
	return c.next
}

// add has a read go on by then after a run that begins from now on. It does not wait.
func (c *coalescer) add(read *shortRead) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.soon()
	r.reads = append(r.reads, read)
}

// do waits for a run that begins from now on.
func (c *coalescer) do(ctx context.Context) (uint64, error) {
	c.mu.Lock()
	r := c.soon()
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (c *coalescer) loop() {
	for {
		c.mu.Lock()
		r := c.next
		c.next = nil
		c.running = r != nil
		c.mu.Unlock()
		if r == nil {
			return
		}
		r.value, r.err = c.run()
		close(r.done)
		if len(r.reads) > 0 {
			c.then(r.reads, r.value, r.err)
		}
	}
}
