package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// refusalTime is how long a refusal may take when the body never comes.
const refusalTime = 20 * time.Second

// form is how a protocol asks, and how it says no.
type form struct {
	unary, stream string // content types
	check         func(resp *http.Response, body []byte, method protoreflect.MethodDescriptor) error
}

var forms = map[string]form{
	"Connect Protobuf": {"application/proto", "application/connect+proto", refusedByConnect},
	"Connect JSON":     {"application/json", "application/connect+json", refusedByConnect},
	"gRPC":             {"application/grpc+proto", "application/grpc+proto", refusedByGRPC},
	"gRPC-Web":         {"application/grpc-web+proto", "application/grpc-web+proto", refusedByGRPCWeb},
}

// A call without the token is refused in its own protocol before its body is read:
// here the header is sent, and the body never comes.
func TestRefusedBeforeTheBody(t *testing.T) {
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := newCluster(t, 1, "--token-file", tokenFile)
	secure, sec := newSecureCluster(t, 1)
	plain.token, secure.token = "", "" // each call says what it bears
	wires := []*wire{
		newWire(t, &wire{name: "1.1", c: plain, member: "m1"}, "HTTP/1.1"),
		newWire(t, &wire{name: "h2c", c: plain, member: "m1"}, "HTTP/2.0"),
		newWire(t, &wire{name: "1.1-TLS", c: secure, secrets: sec, member: "m1"}, "HTTP/1.1"),
		newWire(t, &wire{name: "h2-TLS", c: secure, secrets: sec, member: "m1"}, "HTTP/2.0"),
	}
	calls := 0
	for _, w := range wires {
		for name, f := range forms {
			for _, method := range contractMethods() {
				for _, authorization := range []string{"", "Bearer wrong", "Bearer", "Basic " + secret, secret} {
					if err := f.refused(w, method, authorization); err != nil {
						t.Fatalf("%s by %s over %s with %q: %v", methodName(method), name, w.name, authorization, err)
					}
					calls++
				}
			}
		}
	}
	t.Logf("%d calls refused, none of which sent a body", calls)
}

// refused makes a call that sends its header only.
func (f form) refused(w *wire, method protoreflect.MethodDescriptor, authorization string) error {
	ctx, cancel := context.WithTimeout(context.Background(), refusalTime)
	defer cancel()
	body, never := io.Pipe()
	defer context.AfterFunc(ctx, func() { never.Close() })() // the client does not give up before
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url(procedure(method)), body)
	if err != nil {
		return err
	}
	contentType := f.unary
	if method.IsStreamingServer() {
		contentType = f.stream
	}
	req.Header.Set("Content-Type", contentType)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the refusal: %w", err)
	}
	return f.check(resp, text, method)
}

func refusedByConnect(resp *http.Response, body []byte, method protoreflect.MethodDescriptor) error {
	var e struct{ Code, Message string }
	if !method.IsStreamingServer() {
		if resp.StatusCode != http.StatusUnauthorized || json.Unmarshal(body, &e) != nil || !isRefusal(e.Code, "unauthenticated", e.Message) {
			return fmt.Errorf("%s: %s", resp.Status, body)
		}
		if !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
			return fmt.Errorf("the header does not ask for a token: %v", resp.Header)
		}
		return nil
	}
	var end struct {
		Error struct{ Code, Message string }
	}
	flags, text := unframe(body)
	if resp.StatusCode != http.StatusOK || flags != 2 || json.Unmarshal(text, &end) != nil || !isRefusal(end.Error.Code, "unauthenticated", end.Error.Message) {
		return fmt.Errorf("%s: %q", resp.Status, body)
	}
	return nil
}

func refusedByGRPC(resp *http.Response, body []byte, _ protoreflect.MethodDescriptor) error {
	status, message := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if status == "" { // nothing but trailers: they are the header
		status, message = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	if resp.StatusCode != http.StatusOK || len(body) > 0 || !isRefusal(status, "16", message) {
		return fmt.Errorf("%s %v, trailer %v: %q", resp.Status, resp.Header, resp.Trailer, body)
	}
	return nil
}

func refusedByGRPCWeb(resp *http.Response, body []byte, _ protoreflect.MethodDescriptor) error {
	if resp.Header.Get("Grpc-Status") != "" {
		return refusedByGRPC(resp, body, nil)
	}
	flags, text := unframe(body)
	trailer := map[string]string{}
	for line := range strings.SplitSeq(string(text), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		trailer[strings.ToLower(name)] = strings.TrimSpace(value)
	}
	if resp.StatusCode != http.StatusOK || flags != 0x80 || !isRefusal(trailer["grpc-status"], "16", trailer["grpc-message"]) {
		return fmt.Errorf("%s %v: %q", resp.Status, resp.Header, body)
	}
	return nil
}

func isRefusal(code, want, message string) bool {
	return code == want && strings.Contains(message, "token is missing or wrong")
}

// unframe takes a message out of its five bytes of prefix.
func unframe(body []byte) (flags byte, message []byte) {
	if len(body) < 5 || int(binary.BigEndian.Uint32(body[1:5])) != len(body)-5 {
		return 0xff, body
	}
	return body[0], body[5:]
}
