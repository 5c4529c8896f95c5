package session

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// backoff grows from 100 ms to 2 s, with jitter.
type backoff struct {
	wait time.Duration
}

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 2 * time.Second
)

func (b *backoff) next() time.Duration {
	b.wait = min(max(minBackoff, 2*b.wait), maxBackoff)
	return time.Duration(float64(b.wait) * (0.75 + rand.Float64()/2)) //nolint:gosec // not a secret
}

// sleep waits, and reports false when ctx ends first.
func (b *backoff) sleep(ctx context.Context) bool {
	t := time.NewTimer(b.next())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// outage logs the beginning and the end of a time without answers, once each.
type outage struct {
	mu    sync.Mutex
	since time.Time
}

func (o *outage) begin(log *slog.Logger, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		log.Debug("no answer from the control plane", "error", err)
		return
	}
	o.since = time.Now()
	log.Warn("no answer from the control plane: trying on", "error", err)
}

func (o *outage) over(log *slog.Logger) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		log.Info("the control plane answers again", "after", time.Since(o.since).Round(time.Millisecond))
		o.since = time.Time{}
	}
}
