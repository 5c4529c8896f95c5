package service

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/klauspost/compress/gzip"

	"github.com/raft-control-plane/control-plane/internal/loopback"
)

// What Connect refuses in a parser's words while it reads a message: too many bytes,
// broken frames, compression that is none. The body is watched as it is read, and an
// error of ours goes through Connect to the caller as it is.

// frameBytes is what stands before a message in gRPC, gRPC-Web and Connect's streams:
// a byte of flags, four of length.
const frameBytes = 5

// drainBytes bounds what is read of a body that is not wanted, so that its sender
// gets to read the answer.
const drainBytes = 4 * maxMessageBytes

const sendLess = "send less in one call, or store what is large elsewhere and give its address"

func wireError(code connect.Code, format string, args ...any) *connect.Error {
	return connect.NewError(code, fmt.Errorf(format, args...))
}

func tooLarge() *connect.Error {
	return wireError(connect.CodeResourceExhausted, "the request has more than %d bytes, which is the limit: %s", maxMessageBytes, sendLess)
}

// isFramed tells the protocols that put each message into a frame.
func isFramed(contentType string) bool {
	return strings.HasPrefix(contentType, "application/grpc") || strings.HasPrefix(contentType, "application/connect+")
}

// encodingHeader is where the caller's protocol says how messages are compressed.
func encodingHeader(contentType string) string {
	switch {
	case strings.HasPrefix(contentType, "application/grpc"):
		return "Grpc-Encoding"
	case strings.HasPrefix(contentType, "application/connect+"):
		return "Connect-Content-Encoding"
	}
	return "Content-Encoding"
}

// checkWire returns a code and a reason if the headers ask for what there is not.
func checkWire(r *http.Request) (connect.Code, string) {
	contentType := r.Header.Get("Content-Type")
	name := encodingHeader(contentType)
	encoding, timeout := r.Header.Get(name), r.Header.Get("Grpc-Timeout")
	switch {
	case !isKnown(encoding):
		return connect.CodeUnimplemented, fmt.Sprintf("the compression %s is not known here: send %s: gzip, or compress nothing and leave the header out", quoted(encoding), name)
	case name == "Grpc-Encoding" && !isGRPCTimeout(timeout):
		return connect.CodeInvalidArgument, fmt.Sprintf("the header Grpc-Timeout is %s: give at most 8 digits and a unit, one of H, M, S, m, u and n, such as 500m for 500 ms", quoted(timeout))
	}
	return 0, ""
}

func isKnown(encoding string) bool {
	return encoding == "" || encoding == "identity" || encoding == "gzip"
}

// isGRPCTimeout tells whether a header, if it is there, is what gRPC's protocol asks for.
func isGRPCTimeout(text string) bool {
	if text == "" {
		return true
	}
	digits := strings.TrimRight(text, "HMSmun")
	return digits != "" && len(digits) <= 8 && len(text) == len(digits)+1 && strings.Trim(digits, "0123456789") == ""
}

// watchBody puts our words in place of Connect's.
func watchBody(r *http.Request, timeout time.Duration) {
	contentType := r.Header.Get("Content-Type")
	b := &body{ReadCloser: r.Body, timeout: timeout}
	if isFramed(contentType) {
		b.encoding = encodingHeader(contentType)
		b.compressed = r.Header.Get(b.encoding) != "" && r.Header.Get(b.encoding) != "identity"
		r.Body = &framedBody{body: b}
		return
	}
	r.Body = &plainBody{body: b}
}

// body is a request's body, with what is needed to say what is wrong with it.
type body struct {
	io.ReadCloser
	timeout    time.Duration
	encoding   string // header that names the compression
	compressed bool
}

// refused reads on for a while and returns the refusal.
func (b *body) refused(err *connect.Error) error {
	_, _ = io.CopyN(io.Discard, b.ReadCloser, drainBytes) // it may end before that
	return err
}

func (b *body) explain(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return wireError(connect.CodeDeadlineExceeded, "the request did not come within %s, nothing was changed: send it again, or less in one call", b.timeout)
	}
	return err
}

// plainBody is a body that is the message.
type plainBody struct {
	*body
	seen int64
}

// Read implements io.Reader.
func (b *plainBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.seen += int64(n); b.seen > maxMessageBytes {
		return 0, b.refused(tooLarge())
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.explain(err)
	}
	return n, err
}

// framedBody is a body of frames.
type framedBody struct {
	*body
	prefix []byte // of the frame that begins, and not handed on yet
	size   int64  // of the frame
	left   int64  // of the frame, to be read yet
}

// Read implements io.Reader.
func (b *framedBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(b.prefix) == 0 && b.left == 0 {
		if err := b.begin(); err != nil {
			return 0, err
		}
	}
	if len(b.prefix) > 0 {
		n := copy(p, b.prefix)
		b.prefix = b.prefix[n:]
		return n, nil
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case err == nil || errors.Is(err, io.EOF) && b.left == 0:
		return n, err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return n, wireError(connect.CodeInternal, "the message is cut off: its frame announces %d bytes, %d came; send it whole", b.size, b.size-b.left)
	}
	return n, b.explain(err)
}

// begin reads what stands before a message.
func (b *framedBody) begin() error {
	var prefix [frameBytes]byte
	n, err := io.ReadFull(b.ReadCloser, prefix[:])
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && n > 0:
		return wireError(connect.CodeInternal, "the frame is cut off: %d bytes came of the %d before each message; send a byte of flags, four of length, and the message", n, frameBytes)
	case err != nil && !errors.Is(err, io.EOF):
		return b.explain(err)
	case err != nil:
		return err
	}
	b.size = int64(binary.BigEndian.Uint32(prefix[1:]))
	switch {
	case b.size > maxMessageBytes:
		return b.refused(wireError(connect.CodeResourceExhausted, "the message has %d bytes, at most %d are allowed: %s", b.size, maxMessageBytes, sendLess))
	case prefix[0]&1 != 0 && !b.compressed:
		return b.refused(wireError(connect.CodeInternal, "the frame is marked as compressed and no header says how: send %s: gzip, or the flag 0", b.encoding))
	}
	b.prefix, b.left = prefix[:], b.size
	return nil
}

// acceptHeaders are where callers say, each protocol in its own, how an answer may be packed.
var acceptHeaders = []string{"Accept-Encoding", "Connect-Accept-Encoding", "Grpc-Accept-Encoding"}

// spareNeighbour answers a caller on this machine as if it had not asked for compression:
// its bytes cross no network, and gzip took a twentieth of the CPU of a task. Whoever sends
// packed messages gets them, and so does a caller behind a proxy, who may be anywhere. (The
// Go client does not ask: see its compression.)
func spareNeighbour(r *http.Request) {
	if !loopback.Host(r.RemoteAddr) || slices.ContainsFunc(proxyHeaders, func(h string) bool { return r.Header.Get(h) != "" }) {
		return
	}
	for _, h := range acceptHeaders {
		r.Header.Del(h)
	}
}

// proxyHeaders are by what proxies say that they are one.
var proxyHeaders = []string{"Forwarded", "X-Forwarded-For", "Via"}

// boundedGzip unpacks no more than a message may have: Connect would go on to count
// what a few kB unpack to.
type boundedGzip struct {
	gzip gzip.Reader // not embedded: it has other ways to be read
	left int64
	bad  error // what came has no gzip header
}

var errNoGzip = wireError(connect.CodeInvalidArgument, "the message cannot be unpacked by gzip, as its header says: compress all of it, or leave the header out")

func newBoundedGzip() connect.Decompressor { return &boundedGzip{} }

// Reset implements connect.Decompressor. What is wrong is told by Read, because
// Connect puts its own words round what Reset says.
func (g *boundedGzip) Reset(r io.Reader) error {
	g.left, g.bad = maxMessageBytes, g.gzip.Reset(r)
	return nil
}

// Read implements connect.Decompressor.
func (g *boundedGzip) Read(b []byte) (int, error) {
	if g.bad != nil {
		return 0, errNoGzip
	}
	n, err := g.gzip.Read(b[:min(int64(len(b)), g.left+1)])
	if g.left -= int64(n); g.left < 0 {
		return 0, wireError(connect.CodeResourceExhausted, "the message unpacks to more than %d bytes, which is the limit: %s", maxMessageBytes, sendLess)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = errNoGzip
	}
	return n, err
}

// Close implements connect.Decompressor.
func (g *boundedGzip) Close() error {
	if g.bad != nil {
		return nil // it has not begun
	}
	return g.gzip.Close()
}

// newGzip packs quickly rather than tightly: most of what is sent stays within a
// datacentre.
func newGzip() connect.Compressor {
	w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is one that there is
	}
	return w
}
