package raftdb

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane/internal/burst"
)

// streamLayer carries Raft's streams over the API's port: an HTTP/1.1 Upgrade,
// after which the connection is a plain TCP or TLS stream. So there is one port,
// one certificate and one firewall rule, and a member's Raft address is its API
// address. It implements raft.StreamLayer.
type streamLayer struct {
	e        *Engine
	accepted chan net.Conn
	closed   chan struct{}

	mu   sync.Mutex
	open map[*stream]struct{}
}

func newStreamLayer(e *Engine) *streamLayer {
	return &streamLayer{e: e, accepted: make(chan net.Conn), closed: make(chan struct{}), open: map[*stream]struct{}{}}
}

// stream is a connection after its handshake. Reads begin with what the HTTP side
// had buffered.
type stream struct {
	net.Conn
	layer *streamLayer
	r     io.Reader
}

// Read implements net.Conn.
func (s *stream) Read(b []byte) (int, error) { return s.r.Read(b) }

// Close implements net.Conn.
func (s *stream) Close() error {
	s.layer.mu.Lock()
	delete(s.layer.open, s)
	s.layer.mu.Unlock()
	return s.Conn.Close()
}

// track takes note of a stream, since the HTTP server no longer knows it. It fails
// once the layer is closed.
func (l *streamLayer) track(conn net.Conn, r io.Reader) (*stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed() {
		conn.Close()
		return nil, net.ErrClosed
	}
	s := &stream{Conn: conn, layer: l, r: r}
	l.open[s] = struct{}{}
	return s, nil
}

func (l *streamLayer) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// serve turns a request into a stream.
func (l *streamLayer) serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "raft" {
		refuse(w, http.StatusUpgradeRequired, "members speak Raft here: send Upgrade: raft")
		return
	}
	// Someone who means the member that had this address before, or whose data was
	// wiped since, must not take us for it.
	if to := r.Header.Get(headerTo); to != "" && to != string(l.e.self.serverID()) {
		refuse(w, http.StatusConflict, fmt.Sprintf("this is member %s, not %s", l.e.self.serverID(), to))
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, http.StatusHTTPVersionNotSupported, "a stream needs HTTP/1.1")
		return
	}
	_ = conn.SetDeadline(time.Time{}) // the server's limits were for a request
	sendAtOnce(conn)
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raft\r\n\r\n"); err != nil {
		conn.Close()
		return
	}
	s, err := l.track(conn, buffered.Reader)
	if err != nil {
		return
	}
	select {
	case l.accepted <- s:
	case <-l.closed:
		_ = s.Close()
	}
}

// sendAtOnce tells a connection of the server's not to wait for more to send: Raft's transport
// gathers what it writes, and a follower's answer is what the leader waits for.
func sendAtOnce(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if joined, ok := conn.(*burst.Conn); ok {
		joined.Direct()
	}
}

// Accept implements net.Listener.
func (l *streamLayer) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; it ends all streams.
func (l *streamLayer) Close() error {
	l.mu.Lock()
	if l.isClosed() {
		l.mu.Unlock()
		return nil
	}
	close(l.closed)
	open := l.open
	l.open = map[*stream]struct{}{}
	l.mu.Unlock()
	for s := range open {
		_ = s.Conn.Close()
	}
	return nil
}

type advertised string

// Network implements net.Addr.
func (advertised) Network() string { return "tcp" }

// String implements net.Addr.
func (a advertised) String() string { return string(a) }

// Addr implements net.Listener.
func (l *streamLayer) Addr() net.Addr { return advertised(l.e.cfg.Advertise) }

// Dial implements raft.StreamLayer.
func (l *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := l.connect(ctx, string(address))
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	r, err := l.handshake(conn, address)
	if err != nil {
		conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return l.track(conn, r)
}

func (l *streamLayer) connect(ctx context.Context, address string) (net.Conn, error) {
	if l.e.cfg.TLS == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	c := l.e.cfg.TLS.Clone()
	c.NextProtos = []string{"http/1.1"} // there is no Upgrade in HTTP/2
	return (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", address)
}

func (l *streamLayer) handshake(conn net.Conn, address raft.ServerAddress) (io.Reader, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+string(address)+"/raft", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "raft")
	for _, s := range l.e.knownServers() {
		if s.Address == address {
			req.Header.Set(headerTo, string(s.ID))
		}
	}
	l.e.sign(req.Header)
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
		l.e.hearRefusal(resp, text)
		return nil, errors.New(refusal(resp.StatusCode, text))
	}
	return r, nil
}
