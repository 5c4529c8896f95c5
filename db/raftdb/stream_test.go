package raftdb

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/internal/burst"
)

// TestStreamsSendAtOnce: a write to a stream is sent when it returns, or has failed.
func TestStreamsSendAtOnce(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"plain": func(c net.Conn) net.Conn { return c },
		"TLS":   func(c net.Conn) net.Conn { return tls.Server(c, &tls.Config{MinVersion: tls.VersionTLS13}) },
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			conn := burst.New(ours)
			defer conn.Close()
			sendAtOnce(wrap(conn))
			if err := conn.SetWriteDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("an answer")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a write that nobody reads, and may take no time: %v", err)
			}
		})
	}
}
