package service

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// bodyLimit bounds the time in which a body has to come, so that nobody can hold a
// connection by sending a byte a minute: once it is over the connection, or with HTTP/2 the
// stream, ends with a deadline in the past.
//
// A deadline from the start would do the same, but with HTTP/2 that is a message to the
// goroutine of the connection, which each call would wake once more. Nearly all bodies come
// with their headers.
type bodyLimit struct {
	io.ReadCloser
	late *time.Timer

	mu   sync.Mutex
	conn http.ResponseWriter // nil once the body has come, or the handler returns
}

// limitBody puts a limit on a request's body. It must be lifted before the handler returns:
// the writer is not to be used after that.
func (s *server) limitBody(w http.ResponseWriter, r *http.Request) (lift func()) {
	if r.ContentLength == 0 {
		return func() {}
	}
	b := &bodyLimit{ReadCloser: r.Body, conn: w}
	b.late = time.AfterFunc(s.bodyTimeout, b.expire)
	r.Body = b
	return b.lift
}

func (b *bodyLimit) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		_ = http.NewResponseController(b.conn).SetReadDeadline(time.Unix(1, 0)) // it fails where there is no connection
	}
}

func (b *bodyLimit) lift() {
	b.late.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conn = nil
}

// Read implements io.Reader.
func (b *bodyLimit) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.lift()
	}
	return n, err
}
