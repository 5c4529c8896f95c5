// Package protocodec is a codec for Connect that writes Protobuf quickly.
package protocodec

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
)

// Codec takes the place of Connect's own codec for Protobuf. The contract's messages are
// written by code that is generated for each: protobuf's own asks twice about each field
// that there is, 50 of a task, and takes ten times as long. What else there is, and
// everything that is read, goes through protobuf itself, which refuses invalid UTF-8.
type Codec struct{}

// generated is what the contract's messages have.
type generated interface {
	SizeVT() int
	MarshalToSizedBufferVT(b []byte) (int, error)
}

// Name implements connect.Codec.
func (Codec) Name() string { return "proto" }

// Marshal implements connect.Codec.
func (c Codec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend saves a copy where Connect has a buffer.
func (Codec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	if m, ok := message.(generated); ok {
		n := m.SizeVT()
		dst = slices.Grow(dst, n)
		end := len(dst) + n
		_, err := m.MarshalToSizedBufferVT(dst[len(dst):end])
		return dst[:end], err
	}
	m, err := Message(message)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, m)
}

// Unmarshal implements connect.Codec.
func (Codec) Unmarshal(data []byte, message any) error {
	m, err := Message(message)
	if err != nil {
		return err
	}
	return proto.Unmarshal(data, m)
}

// MarshalStable implements what clients need to send reads by HTTP GET.
func (Codec) MarshalStable(message any) ([]byte, error) {
	m, err := Message(message)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// IsBinary reports that the output is no text.
func (Codec) IsBinary() bool { return true }

// Size is how many bytes a message takes.
func Size(m proto.Message) int {
	if m, ok := m.(generated); ok {
		return m.SizeVT()
	}
	return proto.Size(m)
}

// Message is what Connect gives a codec, which is always a Protobuf message.
func Message(message any) (proto.Message, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	return m, nil
}
