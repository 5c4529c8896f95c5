package service

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// The protocols beside Connect's JSON, spoken byte by byte.

func frame(flags byte, b []byte) []byte {
	out := make([]byte, 5, 5+len(b))
	out[0] = flags
	binary.BigEndian.PutUint32(out[1:], uint32(len(b)))
	return append(out, b...)
}

// frames takes a stream of frames apart.
func frames(b []byte) (flags []byte, bodies [][]byte) {
	for len(b) >= 5 && len(b)-5 >= int(binary.BigEndian.Uint32(b[1:])) {
		n := int(binary.BigEndian.Uint32(b[1:]))
		flags, bodies = append(flags, b[0]), append(bodies, b[5:5+n])
		b = b[5+n:]
	}
	return flags, bodies
}

// inProto is the request in Protobuf.
func (c mistake) inProto(m *member) []byte {
	for _, md := range allMethods() {
		if pathOf(md) != "/controlplane.v1."+c.method {
			continue
		}
		msg := dynamicpb.NewMessage(md.Input())
		if err := protojson.Unmarshal([]byte(c.body), msg); err != nil {
			m.t.Fatalf("%s: %v", c.what, err)
		}
		b, err := proto.Marshal(msg)
		if err != nil {
			m.t.Fatal(err)
		}
		return b
	}
	m.t.Fatalf("there is no method %s", c.method)
	return nil
}

// doWire makes the call in another protocol than JSON. The answer is given the form
// of Connect's errors in JSON, with the true status.
func (c mistake) doWire(m *member) *http.Response {
	m.t.Helper()
	contentType, client := "", http.DefaultClient
	body := c.raw
	if body == nil && c.proto != "Connect stream" {
		body = c.inProto(m)
	}
	frame := frame
	if c.unframed {
		frame = func(_ byte, b []byte) []byte { return b }
	}
	switch c.proto {
	case "Connect proto":
		contentType = "application/proto"
	case "gRPC":
		contentType, client, body = "application/grpc", h2(m.t), frame(c.flags, body)
	case "gRPC-Web":
		contentType, body = "application/grpc-web+proto", frame(c.flags, body)
	case "Connect stream":
		contentType, body = "application/connect+json", frame(c.flags, []byte(c.body))
	default:
		m.t.Fatalf("protocol %q", c.proto)
	}
	req, err := http.NewRequestWithContext(testContext(m.t), http.MethodPost, m.url()+"/controlplane.v1."+c.method, bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	if c.chunked {
		req.ContentLength = -1
	}
	req.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(c.header); i += 2 {
		req.Header.Set(c.header[i], c.header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		m.t.Fatalf("%s: %v", c.what, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		m.t.Fatalf("%s: %v", c.what, err)
	}
	return c.asJSON(m, res, text)
}

func (c mistake) asJSON(m *member, res *http.Response, text []byte) *http.Response {
	out := &http.Response{StatusCode: res.StatusCode, Header: res.Header}
	switch c.proto {
	case "gRPC":
		trailer := res.Trailer
		if trailer.Get("Grpc-Status") == "" {
			trailer = res.Header // a refusal without any message
		}
		text = statusJSON(m, trailer)
	case "gRPC-Web":
		if res.Header.Get("Grpc-Status") != "" {
			text = statusJSON(m, res.Header)
			break
		}
		_, bodies := frames(text)
		if len(bodies) == 0 {
			break
		}
		text = statusJSON(m, parseTrailer(bodies[len(bodies)-1]))
	case "Connect stream":
		_, bodies := frames(text)
		if len(bodies) == 0 {
			break
		}
		var end struct{ Error json.RawMessage }
		if err := json.Unmarshal(bodies[len(bodies)-1], &end); err != nil {
			m.t.Fatalf("%s: %v", c.what, err)
		}
		text = end.Error
	}
	out.Body = io.NopCloser(bytes.NewReader(text))
	return out
}

func parseTrailer(b []byte) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(strings.TrimSpace(string(b)), "\r\n") {
		k, v, _ := strings.Cut(line, ":")
		h.Set(k, strings.TrimSpace(v))
	}
	return h
}

// statusJSON is what gRPC says in trailers, as Connect would say it.
func statusJSON(m *member, h http.Header) []byte {
	code, err := strconv.Atoi(h.Get("Grpc-Status"))
	if err != nil {
		return nil
	}
	message, err := url.PathUnescape(h.Get("Grpc-Message"))
	if err != nil {
		m.t.Fatal(err)
	}
	var details []string
	if raw := h.Get("Grpc-Status-Details-Bin"); raw != "" {
		b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(raw, "="))
		if err != nil {
			m.t.Fatal(err)
		}
		var s spb.Status
		if err := proto.Unmarshal(b, &s); err != nil {
			m.t.Fatal(err)
		}
		for _, d := range s.GetDetails() {
			details = append(details, fmt.Sprintf(`{"type":%q,"value":%q}`, strings.TrimPrefix(d.GetTypeUrl(), "type.googleapis.com/"), base64.StdEncoding.EncodeToString(d.GetValue())))
		}
	}
	return []byte(fmt.Sprintf(`{"code":%q,"message":%s,"details":[%s]}`, connect.Code(code).String(), jsonText(message), strings.Join(details, ",")))
}
