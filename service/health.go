package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
)

// Asking whether this member is ready asks the leader, so answers are kept for a
// moment: probes come without a token.
const (
	readyTimeout  = 2 * time.Second
	readyKeptTime = 250 * time.Millisecond
)

// health answers probes. It implements grpchealth.Checker.
type health struct {
	check func(ctx context.Context) error

	mu   sync.Mutex
	at   time.Time
	last error
}

func newHealth(check func(ctx context.Context) error) *health { return &health{check: check} }

// readiness returns why this member is not ready, nil if it is. One check runs at
// a time; who comes meanwhile waits for its outcome.
func (h *health) readiness() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.at) < readyKeptTime {
		return h.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	h.last = h.check(ctx)
	if errors.Is(h.last, context.DeadlineExceeded) {
		h.last = fmt.Errorf("no answer from a leader within %s, or this member is still catching up with it", readyTimeout)
	}
	h.at = time.Now()
	return h.last
}

func (h *health) live(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// ready answers probes of this member in words that rqlite's clients know too: with
// noleader it is ready once it answers.
func (h *health) ready(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("noleader") {
		fmt.Fprintln(w, "[+]node ok")
		return
	}
	err := h.readiness()
	if isClosing(r.Context()) {
		err = errStopping
	}
	if err != nil {
		http.Error(w, "[+]node ok\n[-]not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "[+]node ok\n[+]leader ok\n[+]store ok")
	if r.URL.Query().Has("sync") { // readiness includes it
		fmt.Fprintln(w, "[+]sync ok")
	}
}

var errStopping = errors.New("this member is stopping")

// Check implements grpchealth.Checker.
func (h *health) Check(ctx context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if req.Service != "" && !slices.Contains(services(), req.Service) {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("there is no service "+quoted(req.Service)))
	}
	if h.readiness() != nil || isClosing(ctx) {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}
