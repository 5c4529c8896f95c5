// Package testport gives tests addresses that stay theirs, also while nothing listens there:
// before a member starts, and while it is down. An address that the system chose is the
// system's again as soon as its listener is closed, and goes to whoever asks next.
package testport

import (
	"fmt"
	"net"
	"sync"
	"testing"
)

const (
	// The ports lie below those that systems choose themselves, which begin at 32768 on Linux.
	firstPort, lastPort = 10240, 32767
	// blockPorts are a process's own. They are given in turn, so that one comes again only
	// after all others.
	blockPorts = 512
)

// block is the ports of this process.
var block struct {
	sync.Mutex
	claim net.Listener // at its first port, to the end of the process
	base  int
	given int
}

// Address returns an address on loopback at which nothing listens.
func Address(t testing.TB) string {
	t.Helper()
	address, err := Free()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// Free is Address where there is no test.
func Free() (string, error) {
	block.Lock()
	defer block.Unlock()
	if err := claimed(); err != nil {
		return "", err
	}
	var err error
	for range blockPorts - 1 {
		address := onLoopback(block.base + 1 + block.given%(blockPorts-1))
		block.given++
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("all of %d ports from %d on are in use: %w", blockPorts, block.base, err)
}

// claimed takes the first block that no other process has, once.
func claimed() (err error) {
	for port := firstPort; block.claim == nil && port+blockPorts-1 <= lastPort; port += blockPorts {
		if block.claim, err = net.Listen("tcp", onLoopback(port)); err == nil {
			block.base = port
			return nil
		}
		block.claim = nil // not a listener that is nil
	}
	return err
}

func onLoopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
