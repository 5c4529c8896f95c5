package service

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/internal/protocodec"
)

// pageTokens makes and reads the tokens of lists: a place in the order, and a
// keyed hash of it and of the filters, so that a token that was changed or belongs
// to another query is refused rather than answered with the wrong rows. The key
// comes from what all members share: a token made by one is good at any.
type pageTokens struct{ key []byte }

const macBytes = 10

const notOurToken = "it is not one that this query returned: send next_page_token unchanged and with the same filters, or leave it empty to begin anew"

func newPageTokens(secret string) pageTokens {
	key := sha256.Sum256([]byte("control-plane page token\x00" + secret))
	return pageTokens{key: key[:]}
}

// make returns the token for the place behind what was listed for req.
func (t pageTokens) make(req proto.Message, place []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(t.mac(req, place), place...))
}

// read returns the place in a token, nil if the token is empty.
func (t pageTokens) read(req proto.Message, token string) ([]byte, error) {
	if token == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	// Decoding ignores line ends and the bits at the end: a token has one spelling.
	if err != nil || base64.RawURLEncoding.EncodeToString(raw) != token || len(raw) <= macBytes || !hmac.Equal(raw[:macBytes], t.mac(req, raw[macBytes:])) {
		return nil, controlplane.FieldErrorf("page_token", notOurToken)
	}
	return raw[macBytes:], nil
}

func (t pageTokens) mac(req proto.Message, place []byte) []byte {
	filters, err := proto.MarshalOptions{Deterministic: true}.Marshal(withoutPaging(req))
	if err != nil {
		panic(err) // it came off the wire, so it can be written again
	}
	h := hmac.New(sha256.New, t.key)
	h.Write([]byte(req.ProtoReflect().Descriptor().FullName()))
	h.Write(binary.AppendUvarint(nil, uint64(len(filters))))
	h.Write(filters)
	h.Write(place)
	return h.Sum(nil)[:macBytes]
}

// withoutPaging returns what of a request decides which rows it selects.
func withoutPaging(req proto.Message) proto.Message {
	m := proto.Clone(req).ProtoReflect()
	for _, name := range []protoreflect.Name{"page_token", "page_size", "consistency", "min_index", "max_staleness"} {
		if f := m.Descriptor().Fields().ByName(name); f != nil {
			m.Clear(f)
		}
	}
	return m.Interface()
}

// seqPlace and placeSeq write and read a place in the order of tasks.
func seqPlace(seq int64) []byte { return binary.AppendUvarint(nil, uint64(seq)) }

func placeSeq(place []byte) int64 {
	seq, _ := binary.Uvarint(place)
	return int64(seq)
}

// pageSize returns how many rows a page has at most.
func pageSize(asked int32) int {
	if asked == 0 {
		return 100
	}
	return int(asked)
}

// cutPage returns how many of the first rows fit into a page and a response.
func cutPage[M proto.Message](rows []M, limit int) int {
	size := 0
	for i, r := range rows {
		size += protocodec.Size(r) + 8
		if i == limit || i > 0 && size > maxMessageBytes-minCompressBytes {
			return i
		}
	}
	return len(rows)
}
