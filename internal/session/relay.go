package session

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/tasklog"
)

const (
	// relayInterval is how long text is gathered before it is sent, unless the control
	// plane asks for a longer time.
	relayInterval    = 200 * time.Millisecond
	maxRelayInterval = 30 * time.Second
	// maxRelayChunks and maxRelayBytes bound one call, by the contract.
	maxRelayChunks = 1000
	maxRelayBytes  = 1 << 20
	relayTimeout   = 10 * time.Second
)

// relay knows which attempts have printed something that the leader does not have. What
// they print waits for nothing: the end of it is in their logs, and a call under way
// takes what is there when it begins.
type relay struct {
	mu sync.Mutex
	// due are attempts with text to send, in the order in which they are served.
	due        []*Attempt
	wake       chan struct{}
	generation string
}

// relayed is how far the log of an attempt was sent. relay.mu guards it.
type relayed struct {
	due   bool
	sent  int64
	muted bool // it was refused
}

func newRelay() *relay { return &relay{wake: make(chan struct{}, 1)} }

// note takes in that an attempt has something to send.
func (r *relay) note(at *Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(at)
}

func (r *relay) add(at *Attempt) {
	if at.relayed.due || at.relayed.muted {
		return
	}
	at.relayed.due = true
	r.due = append(r.due, at)
	r.signal()
}

func (r *relay) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take removes the attempts that the next call is for, with what to send of each.
func (r *relay) take() (batch []*Attempt, chunks []*controlplanev1.LogChunk) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size, n := 0, 0
	for ; n < len(r.due) && n < maxRelayChunks && size+tasklog.MaxBytes <= maxRelayBytes; n++ {
		at := r.due[n]
		at.relayed.due = false
		c := at.chunk()
		if c == nil {
			continue
		}
		size += len(c.GetText())
		batch, chunks = append(batch, at), append(chunks, c)
	}
	clear(r.due[:n])
	r.due = r.due[n:]
	if len(r.due) > 0 {
		r.signal()
	}
	return batch, chunks
}

// chunk is what is to be sent next; nil if there is nothing or nobody wants it.
func (at *Attempt) chunk() *controlplanev1.LogChunk {
	if at.relayed.muted || at.IsDropped() {
		return nil
	}
	text, from := at.log.Read(at.relayed.sent, tasklog.MaxBytes)
	if text == "" {
		return nil
	}
	_, oldest := at.log.Read(0, 0)
	return &controlplanev1.LogChunk{TaskId: at.key.task, Attempt: at.key.number, Offset: from, Text: text, OldestOffset: min(oldest, from)}
}

// answered takes in what became of a chunk.
func (r *relay) answered(at *Attempt, o *controlplanev1.LogOutcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch o.GetError().GetCode() {
	case "":
		at.relayed.sent = o.GetNextOffset()
	case connect.CodeFailedPrecondition.String(), connect.CodeNotFound.String():
		at.relayed.muted = true
		return
	}
	if _, end := at.log.Bounds(); at.relayed.sent < end {
		r.add(at)
	}
}

// putBack is for a call that failed.
func (r *relay) putBack(batch []*Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, at := range batch {
		r.add(at)
	}
}

// begun takes in which memory holds the logs, and reports whether it is another one.
func (r *relay) begun(generation string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	former := r.generation
	r.generation = generation
	return former != "" && generation != "" && former != generation
}

// again sends the end of a log once more.
func (r *relay) again(at *Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at.relayed.sent = 0
	if _, end := at.log.Bounds(); end > 0 {
		r.add(at)
	}
}

// relayLoop sends what attempts print until ctx ends: one call at a time, and none
// while nothing is printed.
func (s *session) relayLoop(ctx context.Context) {
	var retry backoff
	interval := relayInterval
	for {
		select {
		case <-s.relay.wake:
		case <-ctx.Done():
			return
		}
		if !pause(ctx, interval) {
			return
		}
		batch, chunks := s.relay.take()
		if len(chunks) == 0 {
			continue
		}
		next, err := s.push(ctx, batch, chunks)
		switch {
		case err == nil:
			interval, retry = next, backoff{}
			continue
		case connect.CodeOf(err) == connect.CodeUnimplemented: // members of a release before
			interval = maxRelayInterval
		default:
			s.log.Debug("what tasks print could not be sent: trying on", "error", err)
			interval = max(relayInterval, retry.next())
		}
		s.relay.putBack(batch)
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// push makes one call and returns how long to wait before the next.
func (s *session) push(ctx context.Context, batch []*Attempt, chunks []*controlplanev1.LogChunk) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	resp, err := s.cfg.ControlPlane.PushLogs(ctx, &controlplanev1.PushLogsRequest{NodeId: s.cfg.Name, SessionId: s.id, Chunks: chunks})
	if err != nil {
		return 0, err
	}
	for i, at := range batch {
		if i < len(resp.GetOutcomes()) {
			s.relay.answered(at, resp.GetOutcomes()[i])
		}
	}
	return min(max(resp.GetInterval().AsDuration(), relayInterval/2), maxRelayInterval), nil
}

// logsHeldBy sends the end of each log again when another memory holds them.
func (s *session) logsHeldBy(generation string) {
	if !s.relay.begun(generation) {
		return
	}
	for _, at := range s.held.all() {
		s.relay.again(at)
	}
}
