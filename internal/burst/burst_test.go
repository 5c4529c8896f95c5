package burst

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a connection of which each write waits to be let through.
type gate struct {
	net.Conn
	entered  chan []byte
	let      chan error
	closed   chan struct{}
	conn     *Conn // of which it is the connection
	deadline atomic.Pointer[time.Time]
	reading  atomic.Pointer[time.Time] // deadline of Read
}

func newGate() *gate {
	return &gate{entered: make(chan []byte), let: make(chan error), closed: make(chan struct{})}
}

func (g *gate) Write(p []byte) (int, error) {
	if end := g.deadline.Load(); end != nil && !time.Now().Before(*end) {
		g.entered <- []byte("too late")
		return 0, os.ErrDeadlineExceeded
	}
	g.entered <- bytes.Clone(p)
	err := <-g.let
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (g *gate) Close() error { close(g.closed); return nil }

func (g *gate) SetReadDeadline(t time.Time) error {
	g.reading.Store(&t)
	return nil
}

func (g *gate) SetWriteDeadline(t time.Time) error {
	g.deadline.Store(&t)
	return nil
}

// sending is a connection that has begun to send a text.
func sending(t *testing.T, text string) (*gate, *Conn) {
	t.Helper()
	g := newGate()
	c := New(g)
	write(t, c, text)
	g.expect(t, text)
	return g, c
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		t.Errorf("Write(%q) = %d, %v", text, n, err)
	}
}

func (g *gate) expect(t *testing.T, text string) {
	t.Helper()
	if got := <-g.entered; string(got) != text {
		t.Errorf("sent %q, want %q", got, text)
	}
}

func TestWhatIsWrittenMeanwhileGoesTogether(t *testing.T) {
	g, c := sending(t, "first")
	write(t, c, "headers ")
	write(t, c, "body")
	g.let <- nil
	g.expect(t, "headers body")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
	select {
	case <-g.closed:
		t.Error("closed before all was sent")
	default:
	}
	g.let <- nil
	<-g.closed
}

func TestAnErrorEndsTheConnection(t *testing.T) {
	g := newGate()
	c := New(g)
	write(t, c, "lost")
	<-g.entered
	write(t, c, "never sent")
	g.let <- os.ErrDeadlineExceeded
	<-g.closed
	c.Direct() // once the sender has ended
	if _, err := c.Write([]byte("more")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the next write: %v", err)
	}
}

// TestADeadlineOfNow is what crypto/tls sets once it has written its last record.
func TestADeadlineOfNow(t *testing.T) {
	g, c := sending(t, "first")
	write(t, c, "the answer")
	if err := c.SetWriteDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	g.let <- nil
	g.expect(t, "the answer")
	if _, err := c.Write([]byte("late")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a write after the deadline: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	g.let <- nil
	<-g.closed
}

// TestCloseLeavesTimeToSend is of a peer that reads slowly: the end of an answer is not cut off.
func TestCloseLeavesTimeToSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := sending(t, "first")
		write(t, c, "the end")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(*g.deadline.Load()); left != lateTimeout {
			t.Errorf("there are %s left to send", left)
		}
		if time.Until(*g.reading.Load()) > 0 {
			t.Error("who reads goes on")
		}
		if err := c.SetWriteDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a deadline after Close: %v", err)
		}
		g.let <- nil
		g.expect(t, "the end")
		g.let <- nil
		<-g.closed
	})
}

// TestWhatIsLargeIsSentByItself, so that no more waits than may, and that a caller who closes the
// connection after it has had it sent.
func TestWhatIsLargeIsSentByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := sending(t, "before")
		large := make(chan error, 1)
		go func() {
			n, err := c.Write(make([]byte, maxWaiting+1))
			if err == nil && n != maxWaiting+1 {
				t.Errorf("%d bytes were written", n)
			}
			large <- err
		}()
		g.let <- nil
		if got := <-g.entered; len(got) != maxWaiting+1 {
			t.Fatalf("sent %d bytes", len(got))
		}
		after := make(chan struct{})
		go func() {
			write(t, c, "after")
			close(after)
		}()
		synctest.Wait()
		select {
		case <-after:
			t.Error("something else was taken meanwhile")
		case <-large:
			t.Error("it was taken, not sent")
		default:
		}
		g.let <- nil
		if err := <-large; err != nil {
			t.Error(err)
		}
		<-after
		g.expect(t, "after")
		g.let <- nil
	})
}

// TestCloseEndsWhatIsSentByItself: nobody was told that it is on its way.
func TestCloseEndsWhatIsSentByItself(t *testing.T) {
	g := newGate()
	c := New(g)
	large := make(chan error)
	go func() {
		_, err := c.Write(make([]byte, maxWaiting+1))
		large <- err
	}()
	<-g.entered
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	<-g.closed
	g.let <- net.ErrClosed
	if err := <-large; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestWriteWaitsForASlowPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, big, third := slow(t)
		g.let <- nil
		if got := <-g.entered; len(got) != big {
			t.Fatalf("sent %d bytes, want the %d that waited and no more", len(got), big)
		}
		if err := <-third; err != nil {
			t.Error(err)
		}
		g.let <- nil
		g.expect(t, "third")
		g.let <- nil
	})
}

func TestCloseEndsAWriteThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, third := slow(t)
		if err := g.conn.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-third; !errors.Is(err, net.ErrClosed) {
			t.Errorf("it returned %v", err)
		}
		g.let <- os.ErrDeadlineExceeded
		<-g.closed
	})
}

// slow is a peer for which as much waits as may, and a third write waits for it.
func slow(t *testing.T) (_ *gate, big int, third <-chan error) {
	g := newGate()
	g.conn = New(g)
	write(t, g.conn, "a")
	<-g.entered
	big = maxWaiting
	write(t, g.conn, string(make([]byte, big)))
	waits := make(chan error, 1)
	go func() {
		_, err := g.conn.Write([]byte("third"))
		waits <- err
	}()
	synctest.Wait()
	if len(waits) > 0 {
		t.Error("the third write did not wait")
	}
	return g, big, waits
}

// TestOverTCP sends much, of which nothing is lost at the end.
func TestOverTCP(t *testing.T) {
	for name, direct := range map[string]int{"joined": -1, "direct from the middle on": 1000} {
		t.Run(name, func(t *testing.T) { sendMuch(t, direct) })
	}
}

func sendMuch(t *testing.T, direct int) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := Listener{Listener: plain}
	defer ln.Close()
	piece := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), i%97) }
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		for i := range 2000 {
			if i == direct {
				conn.(*Conn).Direct()
			}
			write(t, conn, piece(i))
		}
		if err := conn.(*Conn).CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	var want strings.Builder
	for i := range 2000 {
		want.WriteString(piece(i))
	}
	conn, err := net.Dial("tcp", plain.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != want.String() {
		t.Errorf("received %d bytes, want %d (%v)", len(got), want.Len(), err)
	}
}

// begun is a connection that a server has accepted and read of, after the other side wrote a text.
func begun(t *testing.T, plain bool, text string) *Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	other, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	write(t, other, text)
	conn, err := Listener{Listener: ln, Plain: plain}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v", got, err)
	}
	return conn.(*Conn)
}

func TestConnectionsAreDirectUnlessTheyBeginAsHTTP2(t *testing.T) {
	for _, tc := range []struct {
		text   string
		plain  bool
		direct bool
	}{
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true, false},
		{"P", true, false}, // not known yet: it may be either
		{"POST / HTTP/1.1\r\n", true, true},
		{"GET / HTTP/1.1\r\n", true, true},
		{"\x16\x03\x01", false, false}, // TLS has its own bytes, of either
	} {
		c := begun(t, tc.plain, tc.text)
		c.mu.Lock()
		direct := c.direct
		c.mu.Unlock()
		if direct != tc.direct {
			t.Errorf("%q on a connection that is plain: %v, is direct: %v, want %v", tc.text, tc.plain, direct, tc.direct)
		}
	}
}
