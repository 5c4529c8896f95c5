package e2e

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// parted is the network between members: each advertises a proxy, which passes
// nothing between two sides once they are parted. Clients speak to members directly.
type parted struct {
	mu      sync.Mutex
	cluster *cluster
	alone   string // listen address of the member that is cut off
	pids    map[string]int
	conns   map[net.Conn]struct{}
}

// partable starts three members that reach each other through proxies.
func partable(t *testing.T) (*cluster, *parted) {
	t.Helper()
	c := prepare(t, 3)
	p := &parted{cluster: c, pids: map[string]int{}, conns: map[net.Conn]struct{}{}}
	proxies := map[string]string{}
	var all []string
	for _, name := range c.names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		proxies[name] = l.Addr().String()
		all = append(all, proxies[name])
		go p.serve(l, c.addresses[name])
	}
	for _, name := range c.names {
		args := c.members[name].args
		for i := range args {
			if args[i] == "--join" {
				args[i+1] = strings.Join(all, ",")
			}
		}
		c.members[name].args = slices.Concat(args, []string{"--advertise", proxies[name]})
		p.start(name)
	}
	c.ready()
	t.Cleanup(c.endsEqual) // before the proxies end
	return c, p
}

// start starts a member, and takes note of its process.
func (p *parted) start(name string) {
	pid := p.cluster.members[name].start().cmd.Process.Pid
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pids[p.cluster.addresses[name]] = pid
}

func (p *parted) serve(l net.Listener, to string) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		go p.pass(from, to)
	}
}

// pass connects a member to another unless they are parted.
func (p *parted) pass(from net.Conn, to string) {
	defer from.Close()
	if p.blocked(from, to) {
		return
	}
	there, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer there.Close()
	p.mu.Lock()
	p.conns[from] = struct{}{}
	p.mu.Unlock()
	go func() {
		_, _ = io.Copy(there, from)
		there.Close()
		from.Close()
	}()
	_, _ = io.Copy(from, there)
	p.mu.Lock()
	delete(p.conns, from)
	p.mu.Unlock()
}

// blocked: a connection to the member that is cut off, or from it.
func (p *parted) blocked(from net.Conn, to string) bool {
	p.mu.Lock()
	alone := p.alone
	p.mu.Unlock()
	if alone == "" {
		return false
	}
	return to == alone || p.owns(alone, from.RemoteAddr().(*net.TCPAddr).Port)
}

// owns reports whether the member at a listen address has a connection with this
// local port.
func (p *parted) owns(address string, port int) bool {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false
	}
	local := strings.ToUpper(hex.EncodeToString([]byte{byte(port >> 8), byte(port)}))
	inode := ""
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], ":"+local) {
			inode = f[9]
		}
	}
	p.mu.Lock()
	pid := p.pids[address]
	p.mu.Unlock()
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}

// cut parts a member from the others: what is open ends, the rest of the others'
// connections come back at once.
func (p *parted) cut(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alone = address
	for c := range p.conns {
		c.Close()
	}
}

func (p *parted) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alone = ""
}
