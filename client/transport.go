package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/raft-control-plane/control-plane/internal/burst"
	"github.com/raft-control-plane/control-plane/internal/tracing"
)

const (
	dialTimeout = 3 * time.Second
	// A connection on which nothing arrives for pingAfter is tested, and closed
	// if the test is not answered within pingTimeout. So calls on a member whose
	// machine vanished fail after 8 s, however long their deadline. Calls that took a lane
	// come to it after laneTimeout; only with one that is stopped, and to which there was no
	// such connection yet, both times add up.
	pingAfter   = 4 * time.Second
	pingTimeout = 4 * time.Second
	idleTimeout = 90 * time.Second
)

// newHTTPClient makes the HTTP client that all calls go through, and its transport.
func newHTTPClient(tlsConfig *tls.Config, token string) (*http.Client, *transport) {
	t := &transport{plain: newTransport(), secure: newSecureTransport(tlsConfig), lanes: newLanes(tlsConfig), token: token}
	// HTTP/2 only: with HTTP/1 allowed as well, net/http would use that for
	// every http URL, and not only for those that take a lane.
	t.plain.Protocols = new(http.Protocols)
	t.plain.Protocols.SetUnencryptedHTTP2(true)
	t.secure.Protocols = new(http.Protocols)
	t.secure.Protocols.SetHTTP1(true)
	t.secure.Protocols.SetHTTP2(true)
	client := &http.Client{
		Transport: t,
		// A redirect would carry the token to whoever it names.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client, t
}

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         dial,
		TLSHandshakeTimeout: 2 * dialTimeout,
		IdleConnTimeout:     idleTimeout,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

func newSecureTransport(tlsConfig *tls.Config) *http.Transport {
	t := newTransport()
	t.Proxy = http.ProxyFromEnvironment
	if tlsConfig != nil {
		t.TLSClientConfig = tlsConfig.Clone()
	}
	return t
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := dialPlain(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return burst.New(conn), nil
}

// dialError marks that no connection came about: the request was not sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// transportError marks a failure of the connection, as opposed to an answer of
// the server. The request may have been processed. Its text is that of the error
// within, because connect looks at texts.
type transportError struct{ error }

func (e *transportError) Unwrap() error { return e.error }

// markTransport marks err. An end of file must not be told apart by errors.Is:
// connect takes it for the regular end of a message and would drop the mark.
func markTransport(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &transportError{err}
}

// transport sends requests by the scheme of their URL, with the token and the span, and marks
// what fails on the way.
type transport struct {
	plain, secure *http.Transport
	lanes         *lanes
	token         string
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	traced := trace.SpanContextFromContext(r.Context()).IsValid()
	if t.token != "" || traced {
		r = r.Clone(r.Context())
	}
	if t.token != "" {
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
	if traced { // that of the call if calls have spans, else the caller's
		tracing.Propagator.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
	}
	response, err := t.send(r)
	if err != nil {
		return nil, markTransport(err)
	}
	response.Body = &body{response.Body}
	return response, nil
}

// send takes a lane if it may, and else HTTP/2.
func (t *transport) send(r *http.Request) (*http.Response, error) {
	if lane := t.lanes.take(r); lane != nil {
		r, err := inMemory(r)
		if err != nil {
			lane.release(false)
			return nil, err
		}
		response, err := lane.roundTrip(r)
		if response != nil || err != nil {
			return response, err
		}
		return t.shared(again(r))
	}
	return t.shared(r)
}

// shared sends over HTTP/2.
func (t *transport) shared(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" {
		return t.secure.RoundTrip(r)
	}
	return t.plain.RoundTrip(r)
}

func (t *transport) closeIdle() {
	t.lanes.closeIdle()
	t.plain.CloseIdleConnections()
	t.secure.CloseIdleConnections()
}

// body marks what fails while the answer is read.
type body struct{ io.ReadCloser }

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // the end itself is never wrapped
		err = markTransport(err)
	}
	return n, err
}
