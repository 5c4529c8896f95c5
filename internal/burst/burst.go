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
	maxWaiting = 64 << 10
	// maxKept is the largest buffer that is used again.
	maxKept = 16 << 10
	// lateTimeout is how long what was written before Close, or before a deadline, may take to
	// be sent.
	lateTimeout = time.Second
)

// Conn is a connection of which Write only takes what it is given: a goroutine sends all that
// has come together until it runs, and no timer is involved. An error is returned by the
// next Write, and closes the connection, so that Read ends as well.
type Conn struct {
	net.Conn

	mu      sync.Mutex
	sent    sync.Cond // something was sent
	waiting *[]byte   // to be sent; nil if there is nothing
	sending bool      // a goroutine sends, or is about to
	direct  bool
	closed  bool
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

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	for c.err == nil && !c.closed && c.waiting != nil && len(*c.waiting) > maxWaiting {
		c.sent.Wait()
	}
	switch {
	case c.err != nil || c.closed:
		defer c.mu.Unlock()
		return 0, c.failure()
	case c.direct:
		c.mu.Unlock()
		return c.Conn.Write(p)
	case !c.until.IsZero() && !time.Now().Before(c.until):
		defer c.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	defer c.mu.Unlock()
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

func (c *Conn) failure() error {
	if c.err != nil {
		return c.err
	}
	return net.ErrClosed
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
	for c.sending {
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

// SetWriteDeadline implements net.Conn. It is for what is written after it: crypto/tls closes a
// connection by its last record and a deadline of now, which must not cut off what has not been
// sent yet. That has a second.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	if c.sending && !t.IsZero() {
		if least := time.Now().Add(lateTimeout); t.Before(least) {
			t = least
		}
	}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close implements net.Conn. It does not wait: what was written before has a second to be
// sent.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	c.sent.Broadcast()
	if c.sending {
		return c.Conn.SetDeadline(time.Now().Add(lateTimeout))
	}
	return c.Conn.Close()
}

// Listener makes a Conn of each connection that it accepts.
type Listener struct{ net.Listener }

// Accept implements net.Listener.
func (l Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return New(conn), nil
}
