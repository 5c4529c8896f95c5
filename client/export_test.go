package client

import "time"

// Patient makes submissions wait for the one under way however long it takes.
func Patient(c *Client) { c.gathering.stuckAfter = time.Hour }

// AwaitWaiting waits until n submissions wait for the one under way.
func AwaitWaiting(c *Client, n int) {
	await(c, func(g *gathering) bool { return len(g.waiting) == n })
}

// AwaitIdle waits until none is under way.
func AwaitIdle(c *Client) {
	await(c, func(g *gathering) bool { return g.begun.IsZero() })
}

func await(c *Client, ok func(*gathering) bool) {
	for done := false; !done; time.Sleep(time.Millisecond) {
		c.gathering.mu.Lock()
		done = ok(&c.gathering)
		c.gathering.mu.Unlock()
	}
}
