package service

import (
	"context"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"
)

// notePanics logs what a handler panics with outside of Connect, and ends the connection, with
// HTTP/2 the stream. So does net/http, but its words go to the same log as those about
// callers who hang up: see newHTTPServer.
func (s *server) notePanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if s.panicked(r, recover()) {
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// panicked reports whether a handler has panicked, by what recover has returned, and logs it.
func (s *server) panicked(r *http.Request, what any) bool {
	if what != nil && what != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
		s.log.Error("a handler panicked", "path", cut(r.URL.Path, 200), "panic", what, "stack", string(debug.Stack()))
	}
	return what != nil
}

// writerKey is where a request's context holds its http.ResponseWriter: handlers of
// the contract see only messages, and what follows needs the connection.
type writerKey struct{}

// withWriter puts the applied index on every response, also on those that are made
// before a handler is reached, and lets handlers reach the connection. It does not
// wrap the writer, which the Raft handler takes over.
func (s *server) withWriter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isRPC(r) {
			w.Header().Set(appliedHeader, strconv.FormatUint(s.engine.AppliedIndex(), 10))
			r = r.WithContext(context.WithValue(r.Context(), writerKey{}, w))
		}
		next.ServeHTTP(w, r)
	})
}

// responseHeader returns the header that is written first, nil outside of a server.
func responseHeader(ctx context.Context) http.Header {
	if w, ok := ctx.Value(writerKey{}).(http.ResponseWriter); ok {
		return w.Header()
	}
	return nil
}

// setWriteDeadline says until when what is written to a response must have been
// taken by the connection; then the response is cut off. The zero time takes it back.
func setWriteDeadline(ctx context.Context, t time.Time) {
	if w, ok := ctx.Value(writerKey{}).(http.ResponseWriter); ok {
		_ = http.NewResponseController(w).SetWriteDeadline(t) // every server of ours has deadlines
	}
}
