package session

import (
	"math"
	"strings"

	"google.golang.org/protobuf/proto"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	// ProgressWhole is the total of whoever knows only a part of the whole, by the contract.
	ProgressWhole = 1_000_000
	// maxProgress bounds done and total, maxProgressMessage the text's bytes, by the contract.
	maxProgress        = 1e15
	maxProgressMessage = 256
)

// NewProgress is a progress within the contract's limits.
func NewProgress(done, total float64, message string) *controlplanev1.Progress {
	return &controlplanev1.Progress{Done: bounded(done), Total: bounded(total), Message: ProgressMessage(message)}
}

func bounded(v float64) int64 {
	if math.IsNaN(v) {
		return 0
	}
	return int64(math.Round(min(max(v, 0), maxProgress)))
}

// ProgressMessage cuts a text to what a progress takes.
func ProgressMessage(text string) string {
	return CutString(strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD")), maxProgressMessage)
}

// Progressor is what runs and tells how far it has come.
type Progressor interface {
	// Progress is what it has said last, nil if nothing; also after its end. What it
	// returns is not changed any more.
	Progress() *controlplanev1.Progress
}

// progress returns how far the attempt has come if the control plane does not know that
// yet, else nil.
func (at *Attempt) progress() *controlplanev1.Progress {
	at.mu.Lock()
	running, said := at.running, at.said
	at.mu.Unlock()
	r, ok := running.(Progressor)
	if !ok {
		return nil
	}
	if p := r.Progress(); p != nil && !proto.Equal(p, said) {
		return p
	}
	return nil
}

// saidSo notes what the control plane knows of the attempts that a request listed.
func (s *session) saidSo(list []*controlplanev1.HeldAttempt) {
	for _, h := range list {
		if h.GetProgress() == nil {
			continue
		}
		if at := s.held.get(attemptKey{task: h.GetTaskId(), number: h.GetAttempt()}); at != nil {
			at.mu.Lock()
			at.said = h.GetProgress()
			at.mu.Unlock()
		}
	}
}
