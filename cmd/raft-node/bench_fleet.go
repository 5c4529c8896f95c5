package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// benchFleet is members that bench starts.
type benchFleet struct {
	urls  []string
	procs []*exec.Cmd
}

// start starts members on loopback, and waits until they are ready.
func (b *benchFleet) start(ctx context.Context, dir string, n int) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	var addresses []string
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addresses = append(addresses, ln.Addr().String())
		if err := ln.Close(); err != nil { // it is the member's now
			return err
		}
	}
	for i, address := range addresses {
		name := fmt.Sprintf("m%d", i+1)
		args := []string{"serve", "--name", name, "--listen", address, "--data-dir", filepath.Join(dir, name), "--log-level", "error"}
		if n > 1 {
			args = append(args, "--bootstrap-expect", fmt.Sprint(n), "--join", strings.Join(addresses, ","))
		}
		cmd := exec.Command(exe, args...) //nolint:gosec // it is this binary
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		b.procs, b.urls = append(b.procs, cmd), append(b.urls, "http://"+address)
	}
	return b.awaitReady(ctx)
}

// readyTimeout bounds the wait for members that bench has started.
const readyTimeout = 30 * time.Second

func (b *benchFleet) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for _, url := range b.urls {
		for !isReady(ctx, url) {
			if ctx.Err() != nil {
				return fmt.Errorf("member %s was not ready within %s", url, readyTimeout)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func isReady(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (b *benchFleet) pids() (pids []int32) {
	for _, p := range b.procs {
		pids = append(pids, int32(p.Process.Pid)) //nolint:gosec // a process id
	}
	return pids
}

// stop ends the members. Their state is removed, so nothing is lost by haste.
func (b *benchFleet) stop() {
	for _, p := range b.procs {
		_ = p.Process.Signal(syscall.SIGKILL)
		_ = p.Wait()
	}
}
