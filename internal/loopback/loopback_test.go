package loopback_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/raft-control-plane/control-plane/internal/loopback"
)

func TestHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST.:80": true, "127.0.0.1:1": true, "127.9.9.9": true, "[::1]:80": true, "::1": true,
		"": false, "0.0.0.0:1": false, "10.0.0.1:80": false, "127.0.0.1.attacker.example": false, "127.0.0.1:@elsewhere": false, "example.com": false,
	} {
		if got := loopback.Host(host); got != want {
			t.Errorf("Host(%q) = %v", host, got)
		}
	}
}

// FuzzHost lets no name through that may lead to another machine.
func FuzzHost(f *testing.F) {
	for _, host := range []string{"localhost", "LOCALHOST.:80", "127.0.0.1:1", "[::1]:80", "::1", "127.0.0.1.attacker.example", "localhost.attacker.example", "[127.0.0.1", "::ffff:127.0.0.1"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !loopback.Host(host) {
			return
		}
		u, err := url.Parse("http://" + host)
		if err != nil {
			return // no client connects to it
		}
		name := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
		if ip, err := netip.ParseAddr(name); name != "localhost" && (err != nil || !ip.IsLoopback() && !ip.Unmap().IsLoopback()) {
			t.Errorf("%q, which leads to %q, counts as this machine", host, name)
		}
	})
}
