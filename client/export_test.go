package client

import "time"

// Patient makes submissions wait for the one under way however long it takes.
func Patient(c *Client) { c.gathering.Patience = time.Hour }

// PatientReads makes reads wait for the one under way however long it takes, in one queue.
func PatientReads(c *Client) {
	c.gettings.queues = c.gettings.queues[:1]
	c.gettings.queues[0].Patience = time.Hour
}

// AwaitReads waits until n reads wait for the one under way.
func AwaitReads(c *Client, n int) {
	await(func() bool { items, _ := c.gettings.queues[0].Waiting(); return items == n })
}

// Age makes what was seen of reads that go together so old: negative for what lasts.
func Age(c *Client, d time.Duration) {
	seen := []*moment{&c.gettings.large}
	for _, s := range c.servers {
		seen = append(seen, &s.lackedGetTasks)
	}
	for _, m := range seen {
		if m.at.Load() != nil {
			at := time.Now().Add(-d)
			m.at.Store(&at)
		}
	}
}

// LanesPerHost is how many calls go over HTTP/1.1 at once.
const LanesPerHost = lanesPerHost

// LanesAnswerWithin is how long a lane has to answer before its call goes on over HTTP/2.
func LanesAnswerWithin(c *Client, d time.Duration) { c.transport.lanes.timeout = d }

// AwaitWaiting waits until n submissions wait for the one under way.
func AwaitWaiting(c *Client, n int) {
	await(func() bool { items, _ := c.gathering.Waiting(); return items == n })
}

// AwaitIdle waits until none is under way.
func AwaitIdle(c *Client) {
	await(func() bool { _, underWay := c.gathering.Waiting(); return !underWay })
}

func await(ok func() bool) {
	for !ok() {
		time.Sleep(time.Millisecond)
	}
}
