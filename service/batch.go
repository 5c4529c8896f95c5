package service

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
)

// batch answers the calls that another member has forwarded in one request, as if each
// had come by itself: see gather.go. The caller is known to be a member by the token, as
// with every forwarded call.
func (s *server) batch(calls http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get(hopHeader) == "" {
			http.Error(w, batchPath+" is for members that forward calls: call the method itself", http.StatusNotFound)
			return
		}
		requests, err := readRequests(http.MaxBytesReader(w, r.Body, 2*maxBatchBytes))
		if err != nil { // nothing has begun, so the sender may send each by itself
			http.Error(w, "the calls cannot be read: "+err.Error(), http.StatusBadRequest)
			return
		}
		out := &batchWriter{w: w}
		out.begin()
		var all sync.WaitGroup
		for i, req := range requests {
			all.Go(func() {
				res := &recorder{header: http.Header{}}
				defer func() {
					if !s.panicked(req, recover()) { // else the sender learns that this one's outcome is not known
						out.write(i, res)
					}
				}()
				calls.ServeHTTP(res, req.WithContext(r.Context()))
			})
		}
		all.Wait()
	})
}

// readRequests reads all calls of a batch.
func readRequests(body io.Reader) (requests []*http.Request, err error) {
	r := bufio.NewReader(body)
	for {
		req, err := http.ReadRequest(r)
		if errors.Is(err, io.EOF) {
			return requests, nil
		}
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		switch {
		case !slices.Contains(gathered, req.URL.Path) || req.Header.Get(hopHeader) == "":
			return nil, errors.New("one is of another method, or not forwarded")
		case len(requests) == maxBatchCalls:
			return nil, errors.New("there are more than " + strconv.Itoa(maxBatchCalls))
		}
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		requests = append(requests, req)
	}
}

// batchWriter writes responses as they come.
type batchWriter struct {
	mu sync.Mutex
	w  http.ResponseWriter
}

func (b *batchWriter) begin() {
	b.w.Header().Set("Content-Type", "application/octet-stream")
	b.w.WriteHeader(http.StatusOK)
}

func (b *batchWriter) write(i int, rec *recorder) {
	rec.header.Set(callHeader, strconv.Itoa(i))
	res := &http.Response{StatusCode: rec.status(), ProtoMajor: 1, ProtoMinor: 1, Header: rec.header,
		Body: io.NopCloser(bytes.NewReader(rec.body.Bytes())), ContentLength: int64(rec.body.Len())}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := res.Write(b.w); err == nil { // else the sender is gone
		_ = http.NewResponseController(b.w).Flush()
	}
}

// recorder keeps the response to one call.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func (r *recorder) status() int {
	if r.code == 0 {
		return http.StatusOK
	}
	return r.code
}
