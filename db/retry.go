package db

import (
	"encoding/json"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// storedRetryPolicy is a retry policy as it is stored: JSON, in a column that is NULL
// for the default.
type storedRetryPolicy struct {
	InitialMs  int64   `json:"initial_backoff_ms"`
	MaxMs      int64   `json:"max_backoff_ms"`
	Multiplier float64 `json:"multiplier"`
	Jitter     float64 `json:"jitter"`
	ExitCodes  []int32 `json:"exit_codes,omitempty"`
}

func encodeRetryPolicy(p *controlplane.RetryPolicy) string {
	if p == nil {
		return ""
	}
	return string(jsonValue(storedRetryPolicy{p.InitialBackoff.Milliseconds(), p.MaxBackoff.Milliseconds(), p.Multiplier, p.Jitter, p.ExitCodes}).Bytes)
}

// ParseRetryPolicy reads a retry policy as it is stored; nil for the default.
func ParseRetryPolicy(stored string) (*controlplane.RetryPolicy, error) {
	if stored == "" {
		return nil, nil
	}
	var p storedRetryPolicy
	if err := json.Unmarshal([]byte(stored), &p); err != nil {
		return nil, err
	}
	return &controlplane.RetryPolicy{InitialBackoff: time.Duration(p.InitialMs) * time.Millisecond, MaxBackoff: time.Duration(p.MaxMs) * time.Millisecond,
		Multiplier: p.Multiplier, Jitter: p.Jitter, ExitCodes: p.ExitCodes}, nil
}

// normalizeRetry fills in defaults, but for Jitter, of which 0 is a value.
func normalizeRetry(p *controlplane.RetryPolicy) *controlplane.RetryPolicy {
	if p == nil {
		return nil
	}
	def, out := controlplane.DefaultRetryPolicy(), *p
	out.InitialBackoff, out.MaxBackoff = wholeMs(p.InitialBackoff), wholeMs(p.MaxBackoff)
	if out.InitialBackoff == 0 {
		out.InitialBackoff = def.InitialBackoff
	}
	if out.MaxBackoff == 0 {
		out.MaxBackoff = max(def.MaxBackoff, out.InitialBackoff)
	}
	if out.Multiplier == 0 {
		out.Multiplier = def.Multiplier
	}
	if len(out.ExitCodes) == 0 {
		out.ExitCodes = nil // as it is read back
	}
	return &out
}

func (s *scanner) retryPolicy() *controlplane.RetryPolicy {
	p, err := ParseRetryPolicy(s.text())
	if err != nil && s.err == nil {
		s.err = err
	}
	return p
}
