package scheduler

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// retryPolicy decides whether and when a task that failed is tried again.
type retryPolicy controlplane.RetryPolicy

// policy reads a retry policy as it is stored, which is "" for the default.
func (s *Scheduler) policy(stored string) *retryPolicy {
	p, err := db.ParseRetryPolicy(stored)
	if err != nil {
		s.log.Error("a retry policy cannot be read: the default holds", "policy", stored, "error", err)
	}
	if p == nil {
		def := controlplane.DefaultRetryPolicy()
		p = &def
		p.InitialBackoff, p.MaxBackoff = s.opts.RetryBase, s.opts.RetryMax
	}
	return (*retryPolicy)(p)
}

// retries reports whether a failure with an exit code, if it has one, may be tried
// again.
func (p *retryPolicy) retries(exitCode *int32) bool {
	return len(p.ExitCodes) == 0 || exitCode != nil && slices.Contains(p.ExitCodes, *exitCode)
}

// backoff is the wait after a number of earlier failures: exponential, with jitter,
// for which chance is a number in [0, 1).
func (p *retryPolicy) backoff(failed int32, chance float64) time.Duration {
	wait := float64(p.InitialBackoff) * math.Pow(p.Multiplier, float64(failed))
	wait = min(wait, float64(p.MaxBackoff))
	return time.Duration(wait * (1 + p.Jitter*(2*chance-1)))
}

func jitter() float64 { return rand.Float64() }
