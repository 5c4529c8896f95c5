package service

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/rs/cors"

	"github.com/raft-control-plane/control-plane/internal/loopback"
)

// authenticate lets through what bears the token. It answers before the body is
// read. Health checks and the dashboard's files need none, and Raft's own handshake
// carries the token.
func (s *server) authenticate(next http.Handler) http.Handler {
	if s.Token == "" {
		return next
	}
	want := sha256.Sum256([]byte(s.Token)) // equal lengths: the time tells nothing about the token
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(credential(r)))
		if open(r.URL.Path) || isPage(r) || isRaft(r.URL.Path) || subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="raft-node"`)
		s.refuseUnread(w, r, connect.CodeUnauthenticated, `the token is missing or wrong: send "Authorization: Bearer TOKEN" with the content of the cluster's token file (clients of rqlite: as the password of HTTP basic auth)`)
	})
}

func open(path string) bool   { return path == "/livez" || path == "/readyz" }
func isRaft(path string) bool { return path == "/raft" || strings.HasPrefix(path, "/raft/") }

// credential is the token that a request bears. rqlite's clients can send it as a
// password only. No challenge asks for that: browsers would keep it and send it along
// with what any web page asks for.
func credential(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok && isRqlite(r.URL.Path) {
		return password
	}
	return bearer(r.Header.Get("Authorization"))
}

// bearer returns the token of an Authorization header; the scheme's case does not
// matter.
func bearer(header string) string {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// checkHost keeps web pages out where no token does: a page whose name was made
// to resolve to this machine (DNS rebinding) could otherwise submit commands.
func (s *server) checkHost(next http.Handler) http.Handler {
	if s.Token != "" || !s.Loopback {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch origin := r.Header.Get("Origin"); {
		case open(r.URL.Path):
		case !loopback.Host(r.Host):
			s.refuseUnread(w, r, connect.CodePermissionDenied, "the host "+quoted(r.Host)+" is not a name of this machine, which is all that is served without a token: use localhost or 127.0.0.1, or start with --token-file")
			return
		case origin != "" && !s.allowedOrigin(origin):
			s.refuseUnread(w, r, connect.CodePermissionDenied, "web pages of "+quoted(origin)+" may not call: start with --cors-origin to allow them")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) allowedOrigin(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && loopback.Host(u.Host) || slices.Contains(s.CORSOrigins, origin)
}

// quoted shortens what a caller sent for use in a message.
func quoted(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return `"` + strings.ToValidUTF8(s, "?") + `"`
}

// withCORS lets web pages of the origins given call and read what the protocols
// put into headers.
func (s *server) withCORS(next http.Handler) http.Handler {
	if len(s.CORSOrigins) == 0 {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: s.CORSOrigins,
		AllowedMethods: []string{http.MethodGet, http.MethodPost},
		AllowedHeaders: []string{
			"Authorization", "Content-Type", "Accept-Encoding", "Content-Encoding", "X-User-Agent", "X-Grpc-Web", "Grpc-Timeout",
			"Connect-Protocol-Version", "Connect-Timeout-Ms", "Connect-Accept-Encoding", "Connect-Content-Encoding", minIndexHeader,
		},
		ExposedHeaders: []string{
			"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin", "Content-Encoding", "Connect-Content-Encoding", appliedHeader,
		},
		MaxAge: 7200,
	}).Handler(next)
}

// unreadTimeout is how long the rest of a refused request may still come, so that
// its sender, who writes before reading, gets to the answer.
const unreadTimeout = time.Second

// refuseUnread refuses a request whose body is of no interest, and may be slow, large
// or never come. HTTP/1.1's server would read it first; it is told to answer at once
// and to end the connection.
func (s *server) refuseUnread(w http.ResponseWriter, r *http.Request, code connect.Code, message string) {
	s.answerUnread(w, r, connect.NewError(code, errors.New(message)))
}

func (s *server) answerUnread(w http.ResponseWriter, r *http.Request, err *connect.Error) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex() // the server's own writer knows both
		_ = c.SetReadDeadline(time.Now().Add(unreadTimeout))
		w.Header().Set("Connection", "close")
	}
	s.answer(w, r, err)
}

// refuse answers in the form of the caller's protocol.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, code connect.Code, message string) {
	s.answer(w, r, connect.NewError(code, errors.New(message)))
}

func (s *server) answer(w http.ResponseWriter, r *http.Request, err *connect.Error) {
	if isRPC(r) && s.errors.IsSupported(r) {
		if err := s.errors.Write(w, r, err); err != nil {
			s.log.Debug("could not answer", "path", r.URL.Path, "error", err)
		}
		return
	}
	http.Error(w, err.Message(), httpStatus(err.Code()))
}

// isRPC tells calls from what people open in a browser: a call's path names a
// method of a service.
func isRPC(r *http.Request) bool {
	return strings.Count(r.URL.Path, "/") == 2 && strings.Contains(r.URL.Path, ".")
}

func httpStatus(code connect.Code) int {
	switch code {
	case connect.CodeUnauthenticated:
		return http.StatusUnauthorized
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	case connect.CodeUnimplemented:
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}
