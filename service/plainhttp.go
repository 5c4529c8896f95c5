package service

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// What Connect refuses without a word, or in the words of a parser: HTTP that is not
// that of a call. Most of it comes from curl and browsers, whose users read the body.

// plainHTTP refuses requests that are no call of the method, and says why.
func (s *server) plainHTTP(d protoreflect.MethodDescriptor, next http.Handler) http.Handler {
	m := method{name: string(d.Name()), readOnly: isReadOnly(d), types: contentTypes(d.IsStreamingServer())}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, why := m.checkHTTP(w.Header(), r)
		switch {
		case status == 0 && r.ContentLength > maxMessageBytes+frameBytes && r.Header.Get("Content-Encoding") == "":
			_, _ = io.CopyN(io.Discard, r.Body, drainBytes) // it may end before that
			s.refuse(w, r, connect.CodeResourceExhausted, fmt.Sprintf(
				"the request has %d bytes, at most %d are allowed: %s", r.ContentLength, maxMessageBytes, sendLess))
		case status != 0:
			refuseHTTP(w, status, why)
		default:
			s.serveRPC(w, r, next)
		}
	})
}

// serveRPC refuses what Connect would refuse in a parser's words, and lets the rest
// through.
func (s *server) serveRPC(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if code, why := checkWire(r); code != 0 {
		for _, h := range acceptHeaders {
			w.Header().Set(h, "gzip")
		}
		s.refuse(w, r, code, why)
		return
	}
	leave, err := s.arriving.admit(r, s.Tasks.RefusesNewWork)
	if err != nil {
		s.refuseNewWork(w, r, err)
		return
	}
	defer leave()
	spareNeighbour(r)
	defer s.limitBody(w, r)()
	watchBody(r, s.bodyTimeout)
	next.ServeHTTP(w, r)
}

// refuseHTTP answers in the form of Connect's errors, with a status that they do not
// have.
func refuseHTTP(w http.ResponseWriter, status int, why string) {
	body, err := json.Marshal(map[string]string{"code": connect.CodeInvalidArgument.String(), "message": why})
	if err != nil {
		panic(err) // a map of strings always marshals
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller is gone if it fails
}

// method is what HTTP has to be to be a call of it.
type method struct {
	name     string
	readOnly bool
	types    []string
}

// checkHTTP returns a status and a reason if the request is no call of the method.
func (m *method) checkHTTP(header http.Header, r *http.Request) (status int, why string) {
	switch {
	case r.Method == http.MethodGet && m.readOnly:
		return checkGet(r)
	case r.Method != http.MethodPost && m.readOnly:
		header.Set("Allow", "GET, POST")
		return http.StatusMethodNotAllowed, fmt.Sprintf("%s takes POST, or GET as Connect's protocol has it, not %s", m.name, cut(r.Method, 20))
	case r.Method != http.MethodPost:
		header.Set("Allow", "POST")
		return http.StatusMethodNotAllowed, fmt.Sprintf("%s takes POST, not %s", m.name, cut(r.Method, 20))
	}
	if given := r.Header.Get("Content-Type"); !isOneOf(m.types, given) {
		header.Set("Accept-Post", strings.Join(m.types, ", "))
		return http.StatusUnsupportedMediaType, fmt.Sprintf("the content type %s is not one of %s: send the header Content-Type: %s", quoted(given), m.name, m.types[0])
	}
	return checkTimeout(r)
}

// isReadOnly tells methods that may be called by GET.
func isReadOnly(m protoreflect.MethodDescriptor) bool {
	opts, ok := m.Options().(*descriptorpb.MethodOptions)
	return ok && !m.IsStreamingServer() && opts.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
}

func checkGet(r *http.Request) (status int, why string) {
	q := r.URL.Query()
	switch encoding := q.Get("encoding"); {
	case encoding != "json" && encoding != "proto":
		return http.StatusUnsupportedMediaType, fmt.Sprintf("the parameter encoding is %s: give ?encoding=json&message={…}, with the request as JSON, or send it by POST", quoted(encoding))
	case !q.Has("message"):
		return http.StatusBadRequest, "the parameter message is missing: give ?encoding=json&message={…}, with the request as JSON, or send it by POST"
	case !isKnown(q.Get("compression")):
		return http.StatusUnsupportedMediaType, fmt.Sprintf("the parameter compression is %s, which is not known here: give gzip, or leave it out", quoted(q.Get("compression")))
	case q.Get("base64") == "1" && !isBase64(q.Get("message")):
		return http.StatusBadRequest, "the parameter message is no base64: encode the request so, for URLs, or leave base64=1 out"
	}
	return checkTimeout(r)
}

func isBase64(s string) bool {
	s = strings.TrimRight(s, "=")
	_, err := base64.RawURLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_").Replace(s))
	return err == nil
}

func checkTimeout(r *http.Request) (status int, why string) {
	text := r.Header.Get("Connect-Timeout-Ms")
	if len(text) > 10 || strings.Trim(text, "0123456789") != "" {
		return http.StatusBadRequest, fmt.Sprintf("the header Connect-Timeout-Ms is %s: give a whole number of milliseconds, of at most 10 digits", quoted(text))
	}
	return 0, ""
}

// contentTypes are those of requests, the one that people type first.
func contentTypes(stream bool) []string {
	types := []string{"application/json", "application/proto"}
	if stream {
		types = []string{"application/connect+json", "application/connect+proto"}
	}
	for _, p := range []string{"application/grpc", "application/grpc-web"} {
		types = append(types, p, p+"+proto", p+"+json")
	}
	return types
}

func isOneOf(types []string, given string) bool {
	if slices.Contains(types, given) {
		return true
	}
	name, params, err := mime.ParseMediaType(given)
	if err != nil {
		return false
	}
	for k, v := range params {
		if k != "charset" || !strings.EqualFold(v, "utf-8") {
			return false
		}
	}
	for _, t := range types {
		if t == name && (len(params) == 0 || strings.HasSuffix(t, "json")) {
			return true
		}
	}
	return false
}
