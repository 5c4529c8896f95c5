// Package burst joins writes to a connection that closely follow each other. net/http's HTTP/2
// writes the headers of a message, then its body: two system calls, two packets, and the other
// side wakes up twice. Of a call on an idle system that took a tenth.
package burst

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	// maxWaiting is how many bytes wait for a peer that reads slowly, before Write waits too.
	// What is larger by itself is sent before its Write returns: to join it saves nothing.
	maxWaiting = 64 << 10
	// maxKept is the largest buffer that is used again.
	maxKept = 16 << 10
	// lateTimeout is how long what was written before Close, or before a deadline that is over,
	// may take to be sent: with a peer that reads slowly what stands in the kernel's buffer
	// goes first, of megabytes.
	lateTimeout = 30 * time.Second
)

// Conn is a connection of which Write only takes what it is given: a goroutine sends all that
// has come together until it runs, and no timer is involved. An error is returned by the
// next Write, and closes the connection, so that Read ends as well.
type Conn struct {
	net.Conn

	mu      sync.Mutex
	sent    sync.Cond // something was sent
	waiting *[]byte   // to be sent; nil if there is nothing
	sending bool      // a goroutine sends what waited, or is about to
	busy    bool      // a Write sends by itself; nothing waits then
	direct  bool
	closed  bool
	fresh   bool      // nothing was read of a server's connection yet; Read's alone
	until   time.Time // deadline of Write
	err     error     // of what was sent
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// New makes a Conn of a connection.
func New(conn net.Conn) *Conn {
	c := &Conn{Conn: conn}
	c.sent.L = &c.mu
	return c
}

// preface is what HTTP/2 begins with where nothing was agreed upon before.
const preface = "PRI * HTTP/2.0"

// Read implements net.Conn. HTTP/1.1, which is told by its first bytes, writes an answer at
// once as it is.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.fresh && n > 0 {
		c.fresh = false
		if begun := min(n, len(preface)); string(p[:begun]) != preface[:begun] {
			c.Direct()
		}
	}
	return n, err
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.failure() == nil && !c.hasRoom(len(p)) {
		c.sent.Wait()
	}
	switch err := c.failure(); {
	case err != nil:
		return 0, err
	case c.direct || len(p) > maxWaiting:
		return c.writeThrough(p)
	case !c.until.IsZero() && !time.Now().Before(c.until):
		return 0, os.ErrDeadlineExceeded
	}
	if c.waiting == nil {
		c.waiting = buffers.Get().(*[]byte)
	}
	*c.waiting = append(*c.waiting, p...)
	if !c.sending {
		c.sending = true
		go c.send()
	}
	return len(p), nil
}

// hasRoom reports whether so many bytes can be taken, or sent if they are too many for that.
func (c *Conn) hasRoom(n int) bool {
	switch {
	case c.busy || n > maxWaiting && c.sending:
		return false
	case c.waiting == nil:
		return true
	}
	return len(*c.waiting)+n <= maxWaiting
}

// writeThrough sends by itself, when all before it is sent. To close the connection ends it.
func (c *Conn) writeThrough(p []byte) (int, error) {
	c.busy = true
	c.mu.Unlock()
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	c.busy = false
	c.sent.Broadcast()
	return n, err
}

// failure is why nothing more can be written, nil if it can.
func (c *Conn) failure() error {
	if c.err == nil && c.closed {
		return net.ErrClosed
	}
	return c.err
}

// send writes until nothing is left.
func (c *Conn) send() {
	runtime.Gosched() // who is about to write more goes first: grpc-go's writer does the same
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.waiting != nil && c.err == nil {
		b := c.waiting
		c.waiting = nil
		c.mu.Unlock()
		_, err := c.Conn.Write(*b)
		if err != nil {
			_ = c.Conn.Close()
		}
		if cap(*b) <= maxKept {
			*b = (*b)[:0]
			buffers.Put(b)
		}
		c.mu.Lock()
		c.err = err
		c.sent.Broadcast()
	}
	c.sending = false
	c.sent.Broadcast()
	if c.closed && c.err == nil {
		_ = c.Conn.Close()
	}
}

// flush waits until all is sent. mu is held.
func (c *Conn) flush() {
	for c.sending || c.busy {
		c.sent.Wait()
	}
}

// Direct makes each Write after it send by itself: for a connection that becomes something
// else, which joins what it writes on its own.
func (c *Conn) Direct() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	c.direct = true
}

// CloseWrite ends what the other side reads, once all is sent.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// SetWriteDeadline implements net.Conn. A deadline of now is for what is written after it:
// crypto/tls closes a connection by its last record and such a deadline, which must not cut off
// what has not been sent yet. That has half a minute.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.until = t
	if now := time.Now(); c.sending && !t.IsZero() && !t.After(now) {
		t = now.Add(lateTimeout)
	}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close implements net.Conn. It does not wait: what was written before has half a minute to be
// sent. Read, and a Write that has not returned, end at once.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	c.sent.Broadcast()
	if c.sending {
		return errors.Join(c.Conn.SetReadDeadline(time.Unix(1, 0)), c.Conn.SetWriteDeadline(time.Now().Add(lateTimeout)))
	}
	return c.Conn.Close()
}

// Listener makes a Conn of each connection that it accepts.
type Listener struct {
	net.Listener
	// Plain is of one without TLS: connections that do not begin as HTTP/2 are direct.
	Plain bool
}

// Accept implements net.Listener.
func (l Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := New(conn)
	c.fresh = l.Plain
	return c, nil
}
