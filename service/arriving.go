package service

import (
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

// All bodies that arrive over a connection share it. If more comes than can be taken, each
// of them takes longer, so that more are on their way at a time: in the end all are late,
// those that are refused have been sent whole, and memory holds pieces of hundreds. So no
// more than maxArrivingBytes of new work is on its way in: what comes beside that is
// refused unread, and what is on its way is there soon.

const (
	maxArrivingBytes = 16 << 20
	// lightBytes is the largest body that is let in whatever arrives beside it: it comes with
	// its headers, and to refuse it costs as much as to read it.
	lightBytes = 64 << 10
)

// newWork are the methods that store new tasks.
var newWork = []string{controlplanev1connect.TaskServiceSubmitTaskProcedure, controlplanev1connect.TaskServiceSubmitTasksProcedure}

// arriving is how much of new work is on its way in.
type arriving struct{ bytes atomic.Int64 }

// admit lets a request's body in and counts it until it has come or leave is called, which must
// be before the handler returns. It fails if full does, which is asked about large bodies, or if
// too much arrives already.
func (a *arriving) admit(r *http.Request, full func(size int) error) (leave func(), err error) {
	light := r.ContentLength >= 0 && r.ContentLength <= lightBytes
	if light || !slices.Contains(newWork, r.URL.Path) || r.Header.Get(hopHeader) != "" { // another member has let it in
		return func() {}, nil
	}
	declared := max(r.ContentLength, 0) // gRPC declares none: it counts as it comes
	if err := full(int(declared)); err != nil {
		return nil, err
	}
	if before := a.bytes.Add(declared) - declared; before > 0 && before+max(declared, 1) > maxArrivingBytes {
		a.bytes.Add(-declared)
		return nil, &controlplane.Error{Code: controlplane.CodeExhausted, RetryAfter: arrivingRetryAfter,
			Message: "too many submissions are on their way to this member: try again in 100 ms, with fewer at a time"}
	}
	body := &arrivingBody{ReadCloser: r.Body, all: a, undeclared: r.ContentLength < 0}
	body.counted.Store(declared)
	r.Body = body
	return body.leave, nil
}

// arrivingBody is a body that counts.
type arrivingBody struct {
	io.ReadCloser
	all        *arriving
	undeclared bool
	counted    atomic.Int64
}

// Read implements io.Reader.
func (b *arrivingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err != nil:
		b.leave()
	case b.undeclared:
		b.counted.Add(int64(n))
		b.all.bytes.Add(int64(n))
	}
	return n, err
}

func (b *arrivingBody) leave() { b.all.bytes.Add(-b.counted.Swap(0)) }

// arrivingRetryAfter is when a refused submission may be tried again.
const arrivingRetryAfter = 100 * time.Millisecond

// refuseNewWork answers a submission whose body is not read.
func (s *server) refuseNewWork(w http.ResponseWriter, r *http.Request, why error) {
	err := s.connectError(r.URL.Path, why)
	s.metrics.observe(r.URL.Path, err, 0)
	s.answerUnread(w, r, err)
}
