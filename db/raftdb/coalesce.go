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

	mu      sync.Mutex
	running bool
	next    *round
}

type round struct {
	done  chan struct{}
	value uint64
	err   error
}

func newCoalescer(run func() (uint64, error)) *coalescer { return &coalescer{run: run} }

// do waits for a run that begins from now on.
func (c *coalescer) do(ctx context.Context) (uint64, error) {
	c.mu.Lock()
	if c.next == nil {
		c.next = &round{done: make(chan struct{})}
	}
	r := c.next
	if !c.running {
		c.running = true
		go c.loop()
	}
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
	}
}
