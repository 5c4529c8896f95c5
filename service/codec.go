package service

import (
	"context"
	"crypto/rand"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/internal/protocodec"
)

// A message that cannot be read is refused by an interceptor, not by its codec: what a
// codec says gets no details, no header and no count. So a codec leaves the reason
// in the message, as a field that no contract has, and the interceptor finds it
// there.

// faultField is the number of that field, the highest that there is.
const faultField protowire.Number = 1<<29 - 1

// faultSecret begins the field, so that no caller can send one.
var faultSecret = rand.Text()

// markFault makes a message say why it could not be read.
func markFault(m proto.Message, err error) {
	e, ok := err.(*controlplane.Error) //nolint:errorlint // made by this package, and not wrapped
	if !ok {
		e = controlplane.Errorf(controlplane.CodeInvalid, "%s", cut(err.Error(), 200))
	}
	b := protowire.AppendTag(nil, faultField, protowire.BytesType)
	b = protowire.AppendString(b, faultSecret+e.Field+"\x00"+e.Message)
	proto.Reset(m)
	m.ProtoReflect().SetUnknown(b)
}

// faultOf returns why a message could not be read, nil if it could.
func faultOf(message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return nil
	}
	b := m.ProtoReflect().GetUnknown()
	number, _, n := protowire.ConsumeTag(b)
	if n < 0 || number != faultField {
		return nil
	}
	text, n := protowire.ConsumeString(b[n:])
	text, ok = strings.CutPrefix(text, faultSecret)
	if n < 0 || !ok {
		return nil
	}
	field, why, _ := strings.Cut(text, "\x00")
	return &controlplane.Error{Code: controlplane.CodeInvalid, Field: field, Message: why}
}

// faults is the interceptor that refuses messages that could not be read.
type faults struct{}

// WrapUnary implements connect.Interceptor.
func (faults) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := faultOf(req.Any()); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (faults) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return next(ctx, faultConn{conn})
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (faults) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

type faultConn struct{ connect.StreamingHandlerConn }

// Receive implements connect.StreamingHandlerConn.
func (c faultConn) Receive(message any) error {
	if err := c.StreamingHandlerConn.Receive(message); err != nil {
		return err
	}
	return faultOf(message)
}

// strictJSON is Connect's JSON codec, except that it refuses fields and enum names
// that the contract does not have. Connect's own drops them, and a misspelt
// "max_atempts" would be taken for none at all.
type strictJSON struct{ name string }

// Name implements connect.Codec.
func (c strictJSON) Name() string { return c.name }

// Marshal implements connect.Codec.
func (c strictJSON) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend saves a copy where Connect has a buffer.
func (c strictJSON) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, err := protocodec.Message(message)
	if err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{}.MarshalAppend(dst, m)
}

// Unmarshal implements connect.Codec.
func (c strictJSON) Unmarshal(data []byte, message any) error {
	m, err := protocodec.Message(message)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		markFault(m, controlplane.Errorf(controlplane.CodeInvalid, "the body is empty: send a JSON object, {} at least"))
	} else if err := protojson.Unmarshal(data, m); err != nil {
		markFault(m, explainJSON(m.ProtoReflect().Descriptor(), data, err))
	}
	return nil
}

// MarshalStable and IsBinary let clients send reads by HTTP GET.
func (c strictJSON) MarshalStable(message any) ([]byte, error) { return c.Marshal(message) }

// IsBinary reports that the output is text.
func (c strictJSON) IsBinary() bool { return false }

// plainProto is the codec for Protobuf, with refusals for people.
type plainProto struct{ protocodec.Codec }

// Unmarshal implements connect.Codec.
func (c plainProto) Unmarshal(data []byte, message any) error {
	m, err := protocodec.Message(message)
	if err != nil {
		return err
	}
	if err := c.Codec.Unmarshal(data, m); err != nil {
		name := m.ProtoReflect().Descriptor().FullName()
		if strings.Contains(err.Error(), "UTF-8") {
			err = controlplane.Errorf(controlplane.CodeInvalid, "a text in the %s is no valid UTF-8: send text as UTF-8, and other bytes in a field that takes bytes", name)
		} else {
			err = controlplane.Errorf(controlplane.CodeInvalid, "the body is no %s in Protobuf: check that it was made for this method and arrives whole", name)
		}
		markFault(m, err)
	}
	return nil
}

// plainSpaces returns the error's text without the prefix and the no-break spaces
// by which protobuf keeps people from comparing its messages.
func plainSpaces(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return strings.TrimPrefix(text, "proto: ")
}
