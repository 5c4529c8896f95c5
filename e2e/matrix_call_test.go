package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

func matrixProtocols() []protocol {
	return []protocol{
		{"Connect Protobuf", always, byConnect()},
		{"Connect JSON", always, byJSON},
		{"GET Protobuf", isGet, byGetProtobuf},
		{"GET JSON", isGet, byGetJSON},
		{"gRPC", needsHTTP2, byGRPC},
		{"gRPC-Web", always, byConnect(connect.WithGRPCWeb())},
	}
}

func always(*wire, protoreflect.MethodDescriptor) bool { return true }

// isGet: Connect has GET for unary methods that change nothing.
func isGet(_ *wire, m protoreflect.MethodDescriptor) bool { return isRead(m) && !m.IsStreamingServer() }

// needsHTTP2: gRPC ends with trailers, which clients take from HTTP/2 only.
func needsHTTP2(w *wire, _ protoreflect.MethodDescriptor) bool { return w.name != "1.1" }

// byConnect calls with connect's client, of messages that are known only by their
// descriptors.
func byConnect(opts ...connect.ClientOption) caller {
	return func(ctx context.Context, w *wire, m protoreflect.MethodDescriptor, in string, take func(string) bool) error {
		req, err := newRequest(m, in)
		if err != nil {
			return err
		}
		all := append([]connect.ClientOption{connect.WithSchema(m), connect.WithResponseInitializer(initialize)}, opts...)
		client := connect.NewClient[dynamicpb.Message, dynamicpb.Message](w.client, w.url(procedure(m)), all...)
		if !m.IsStreamingServer() {
			res, err := client.CallUnary(ctx, connect.NewRequest(req))
			if err != nil {
				return err
			}
			take(protojson.Format(res.Msg))
			return nil
		}
		stream, err := client.CallServerStream(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		defer stream.Close()
		for stream.Receive() {
			if take(protojson.Format(stream.Msg())) {
				return nil
			}
		}
		return stream.Err()
	}
}

// initialize gives a message its descriptor, which its type does not have.
func initialize(spec connect.Spec, message any) error {
	method, ok := spec.Schema.(protoreflect.MethodDescriptor)
	dynamic, isDynamic := message.(*dynamicpb.Message)
	if !ok || !isDynamic {
		return fmt.Errorf("%T with the schema %T", message, spec.Schema)
	}
	*dynamic = *dynamicpb.NewMessage(method.Output())
	return nil
}

func newRequest(m protoreflect.MethodDescriptor, in string) (*dynamicpb.Message, error) {
	req := dynamicpb.NewMessage(m.Input())
	return req, protojson.Unmarshal([]byte(in), req)
}

// byJSON calls as curl does, and by connect's client where there is a stream.
func byJSON(ctx context.Context, w *wire, m protoreflect.MethodDescriptor, in string, take func(string) bool) error {
	if m.IsStreamingServer() {
		return byConnect(connect.WithProtoJSON())(ctx, w, m, in, take)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url(procedure(m)), strings.NewReader(in))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return w.fetch(req, take)
}

// byGetJSON calls as the address bar of a browser does.
func byGetJSON(ctx context.Context, w *wire, m protoreflect.MethodDescriptor, in string, take func(string) bool) error {
	query := url.Values{"connect": {"v1"}, "encoding": {"json"}, "message": {in}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url(procedure(m))+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	return w.fetch(req, take)
}

// byGetProtobuf calls as a page does whose answers a cache may keep.
func byGetProtobuf(ctx context.Context, w *wire, m protoreflect.MethodDescriptor, in string, take func(string) bool) error {
	msg, err := newRequest(m, in)
	if err != nil {
		return err
	}
	binary, err := proto.Marshal(msg)
	if err != nil {
		return err
	}
	query := url.Values{"connect": {"v1"}, "encoding": {"proto"}, "base64": {"1"}, "message": {base64.RawURLEncoding.EncodeToString(binary)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url(procedure(m))+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	return w.fetch(req, func(text string) bool {
		res := dynamicpb.NewMessage(m.Output())
		if err = proto.Unmarshal([]byte(text), res); err != nil {
			return false
		}
		return take(protojson.Format(res))
	})
}

func (w *wire) fetch(req *http.Request, take func(string) bool) error {
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	if err == nil {
		take(string(text))
	}
	return err
}

// byGRPC calls with grpc-go.
func byGRPC(ctx context.Context, w *wire, m protoreflect.MethodDescriptor, in string, take func(string) bool) error {
	creds := insecure.NewCredentials()
	if w.secrets != nil {
		creds = credentials.NewTLS(w.secrets.tls())
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+w.c.token)
	}
	conn, err := grpc.NewClient(w.c.addresses[w.member], grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer conn.Close()
	req, err := newRequest(m, in)
	if err != nil {
		return err
	}
	res := dynamicpb.NewMessage(m.Output())
	if !m.IsStreamingServer() {
		err := conn.Invoke(ctx, procedure(m), req, res)
		if err == nil {
			take(protojson.Format(res))
		}
		return err
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, procedure(m))
	if err == nil {
		err = stream.SendMsg(req)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	for err == nil {
		if err = stream.RecvMsg(res); err == nil && take(protojson.Format(res)) {
			return nil
		}
	}
	return err
}
