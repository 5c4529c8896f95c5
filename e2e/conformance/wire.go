package main

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

// maxMessageBytes bounds what the suite sends on standard input.
const maxMessageBytes = 1 << 20

// readMessage reads a message behind its length in four bytes, big-endian.
func readMessage(r io.Reader, m proto.Message) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read the suite's request: %w", err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxMessageBytes {
		return fmt.Errorf("the suite's request has %d bytes, at most %d", size, maxMessageBytes)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("read the suite's request: %w", err)
	}
	return proto.Unmarshal(body, m)
}

// writeMessage writes what readMessage reads.
func writeMessage(w io.Writer, m proto.Message) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}
