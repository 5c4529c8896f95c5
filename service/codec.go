package service

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

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
	m, err := asProto(message)
	if err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{}.MarshalAppend(dst, m)
}

// Unmarshal implements connect.Codec.
func (c strictJSON) Unmarshal(data []byte, message any) error {
	m, err := asProto(message)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return errors.New("the body is empty: send a JSON object, {} at least")
	}
	if err := protojson.Unmarshal(data, m); err != nil {
		return fmt.Errorf("JSON of %s: %s", m.ProtoReflect().Descriptor().Name(), plainSpaces(err))
	}
	return nil
}

// MarshalStable and IsBinary let clients send reads by HTTP GET.
func (c strictJSON) MarshalStable(message any) ([]byte, error) { return c.Marshal(message) }

// IsBinary reports that the output is text.
func (c strictJSON) IsBinary() bool { return false }

func asProto(message any) (proto.Message, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	return m, nil
}

// plainSpaces returns the error's text without the prefix and the no-break spaces
// by which protobuf keeps people from comparing its messages.
func plainSpaces(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return strings.TrimPrefix(text, "proto: ")
}
