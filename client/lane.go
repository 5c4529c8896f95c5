package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A call by itself costs net/http's HTTP/2 several goroutines that wake each other, at both
// ends, where HTTP/1.1 has one and a half. So a short call that finds few others under way
// takes a lane, a connection of HTTP/1.1 that it has for itself; all others share HTTP/2.

const (
	lanesPerHost = 8
	// laneTimeout is how long a lane may be silent before its call goes on over HTTP/2,
	// whose pings tell a member that is gone from one that has no leader to ask. It is more
	// than dialTimeout.
	laneTimeout = pingAfter
	// laneRest is for how long calls go over HTTP/2 after a lane has failed: by its nature, if
	// what listens there has no HTTP/1.1.
	laneRest = time.Minute
	// laneMaxBytes is the largest message that takes a lane: what is saved is saved by call.
	laneMaxBytes = 64 << 10
	// laneIdleTimeout is half of a member's own, which closes without a word.
	laneIdleTimeout = time.Minute
)

// statusAlienProtocol is what load balancers of AWS say if the protocol is not that of their targets.
const statusAlienProtocol = 464

var (
	errLaneSlow  = errors.New("no answer, or no more of it, over HTTP/1.1")
	errLaneAlien = errors.New("what answered the lane does not speak Connect")
)

type laneKey struct{}

// withLane lets the attempts of a call take a lane: one that the server answers at once while
// there is a leader, and that may be sent twice.
func withLane(ctx context.Context) context.Context {
	return context.WithValue(ctx, laneKey{}, true)
}

// lanes are the connections of HTTP/1.1.
type lanes struct {
	plain, secure *http.Transport
	timeout       time.Duration // laneTimeout, but in tests

	mu    sync.Mutex
	hosts map[laneHost]*laneState
}

type laneHost struct{ scheme, host string }

type laneState struct {
	busy   int
	failed moment
}

// newLanes makes lanes. A clone of a transport for HTTP/2 would speak that.
func newLanes(tlsConfig *tls.Config) *lanes {
	l := &lanes{plain: newTransport(), secure: newSecureTransport(tlsConfig), timeout: laneTimeout, hosts: map[laneHost]*laneState{}}
	for _, t := range []*http.Transport{l.plain, l.secure} {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP1(true)
		t.DialContext = dialPlain // a message leaves in one piece as it is
		t.MaxIdleConnsPerHost = lanesPerHost
		t.IdleConnTimeout = laneIdleTimeout
	}
	return l
}

// take returns a lane for a request that may have one if one is free, else nil.
func (l *lanes) take(r *http.Request) *lane {
	if may, _ := r.Context().Value(laneKey{}).(bool); !may || r.ContentLength < 0 || r.ContentLength > laneMaxBytes {
		return nil
	}
	key := laneHost{r.URL.Scheme, r.URL.Host}
	l.mu.Lock()
	defer l.mu.Unlock()
	state := l.hosts[key]
	if state == nil {
		state = &laneState{}
		l.hosts[key] = state
	}
	if state.busy >= lanesPerHost || state.failed.within(laneRest) {
		return nil
	}
	state.busy++
	return &lane{lanes: l, state: state}
}

func (l *lanes) closeIdle() {
	l.plain.CloseIdleConnections()
	l.secure.CloseIdleConnections()
}

// lane is one that a call has taken.
type lane struct {
	lanes  *lanes
	state  *laneState
	cancel context.CancelCauseFunc
	slow   *time.Timer
	once   sync.Once
}

// roundTrip sends a request that is in memory. It returns nothing if the request is to be sent again over
// HTTP/2, which is all that becomes of a lane that fails.
func (l *lane) roundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	l.cancel = cancel
	begun := time.Now()
	l.slow = time.AfterFunc(l.lanes.timeout, func() { cancel(errLaneSlow) })
	next := l.lanes.plain
	if r.URL.Scheme == "https" {
		next = l.lanes.secure
	}
	response, err := next.RoundTrip(replayable(r.WithContext(ctx)))
	if err == nil && !isConnect(response) {
		_ = response.Body.Close()
		err = errLaneAlien
	}
	switch {
	case err == nil:
		response.Body = &laneBody{ReadCloser: response.Body, lane: l, caller: r.Context()}
		return response, nil
	case r.Context().Err() != nil || isDialError(err):
		l.release(errors.Is(r.Context().Err(), context.DeadlineExceeded) && time.Since(begun) > l.lanes.timeout/4)
		return nil, err
	}
	l.release(true)
	return nil, nil //nolint:nilnil // see above
}

// progress notes that a part of the answer has come.
func (l *lane) progress() {
	if l.slow.Stop() { // else it is too late
		l.slow.Reset(l.lanes.timeout)
	}
}

// release gives the lane back, once.
func (l *lane) release(failed bool) {
	l.once.Do(func() {
		if l.slow != nil { // it was begun
			l.slow.Stop()
			l.cancel(nil)
		}
		l.lanes.mu.Lock()
		defer l.lanes.mu.Unlock()
		l.state.busy--
		if failed {
			l.state.failed.note()
		}
	})
}

func isDialError(err error) bool {
	_, ok := errors.AsType[*dialError](err)
	return ok
}

// isConnect tells an answer in Connect's protocol from that of a proxy that takes HTTP/1.1 but
// has only HTTP/2 to go on with. Connect has no errors with these statuses.
func isConnect(r *http.Response) bool {
	switch r.StatusCode {
	case http.StatusUpgradeRequired, statusAlienProtocol, http.StatusBadGateway, http.StatusHTTPVersionNotSupported:
		return false
	}
	kind := r.Header.Get("Content-Type")
	return strings.HasPrefix(kind, "application/proto") || strings.HasPrefix(kind, "application/json")
}

// replayable lets net/http send r once more if the server closes a kept connection as the
// request arrives. That is how it says so, and the header does not go out.
func replayable(r *http.Request) *http.Request {
	r.Header = maps.Clone(r.Header)
	r.Header["Idempotency-Key"] = nil
	return r
}

// inMemory returns r with a message that can be sent any number of times, also while one of
// them is still on its way: Connect's own is one reader, which a lane that was given up may
// go on to read. Of such a reader net/http also sends the headers by themselves.
func inMemory(r *http.Request) (*http.Request, error) {
	r = r.WithContext(r.Context()) // a copy
	if r.ContentLength == 0 {
		r.Body, r.GetBody = http.NoBody, nil
		return r, nil
	}
	message := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, message)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(message)), nil }
	r.Body, err = r.GetBody()
	return r, err
}

// timeoutHeader tells the server for how many milliseconds the caller waits.
const timeoutHeader = "Connect-Timeout-Ms"

// again returns r with a body that has not been read, and with the time that is left: told
// of all of it, a server that waits for a leader would say so when nobody listens any more.
func again(r *http.Request) *http.Request {
	r = r.WithContext(r.Context()) // a copy
	if deadline, ok := r.Context().Deadline(); ok && r.Header.Get(timeoutHeader) != "" {
		r.Header = maps.Clone(r.Header)
		r.Header.Set(timeoutHeader, strconv.FormatInt(max(time.Until(deadline).Milliseconds(), 1), 10))
	}
	if r.GetBody != nil {
		r.Body, _ = r.GetBody() // it cannot fail
	}
	return r
}

// laneBody gives the lane back at its end.
type laneBody struct {
	io.ReadCloser
	lane   *lane
	caller context.Context //nolint:containedctx // a body is read without one
}

// Read implements io.Reader.
func (b *laneBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil: // however long the answer takes, it is not silent
		b.lane.progress()
	case errors.Is(err, io.EOF):
		b.lane.release(false)
	default: // the call goes over HTTP/2 when it is tried again
		b.lane.release(b.caller.Err() == nil)
	}
	return n, err
}

// Close implements io.Closer.
func (b *laneBody) Close() error {
	err := b.ReadCloser.Close()
	b.lane.release(false)
	return err
}

func dialPlain(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, &dialError{err}
	}
	return conn, nil
}
