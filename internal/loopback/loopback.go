// Package loopback tells which names lead to this machine itself.
package loopback

import (
	"net"
	"strings"
)

// Host reports whether a host, with or without port, names this machine: localhost, or a
// loopback address. A name that would have to be looked up does not count.
func Host(host string) bool {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if strings.Trim(port, "0123456789") != "" { // "127.0.0.1:@elsewhere" leads elsewhere
			return false
		}
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
