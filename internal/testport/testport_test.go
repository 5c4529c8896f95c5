package testport

import (
	"net"
	"testing"
)

// TestAddressesAreGivenInTurn has another program at one of the ports.
func TestAddressesAreGivenInTurn(t *testing.T) {
	block.given = 0
	first := Address(t)
	if again, err := net.Listen("tcp", block.claim.Addr().String()); err == nil {
		_ = again.Close()
		t.Error("another process can have the block")
	}
	taken, err := net.Listen("tcp", onLoopback(block.base+2))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	given := map[string]bool{first: true, taken.Addr().String(): true}
	for len(given) < blockPorts-1 {
		a := Address(t)
		if given[a] {
			t.Fatalf("%s is given again, or is another's", a)
		}
		given[a] = true
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
	if a := Address(t); a != first {
		t.Errorf("after all others comes %s, not %s", a, first)
	}
}
