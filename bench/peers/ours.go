package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/raft-control-plane/control-plane/client"
	"github.com/raft-control-plane/control-plane/internal/bench"
)

// startOurs starts members by this project's binary.
func startOurs(members int) func(context.Context, *env) (*running, error) {
	return func(ctx context.Context, e *env) (*running, error) {
		if _, err := os.Stat(e.raftNode); err != nil {
			return nil, fmt.Errorf("%s is %w: make build builds it", e.raftNode, errMissing)
		}
		ports, err := freePorts(members)
		if err != nil {
			return nil, err
		}
		var addresses, urls []string
		for _, port := range ports {
			addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", port))
			urls = append(urls, fmt.Sprintf("http://127.0.0.1:%d", port))
		}
		p := &processes{log: filepath.Join(e.dir, "log")}
		stop := func() { p.stop(syscall.SIGTERM) }
		for i, address := range addresses {
			name := fmt.Sprintf("m%d", i+1)
			args := []string{e.raftNode, "serve", "--name", name, "--listen", address, "--data-dir", filepath.Join(e.dir, name), "--log-level", "error"}
			if members > 1 {
				args = append(args, "--bootstrap-expect", fmt.Sprint(members), "--join", strings.Join(addresses, ","))
			}
			if err := p.start(e.dir, "", args...); err != nil {
				stop()
				return nil, err
			}
		}
		for _, url := range urls {
			if err := until(ctx, url+" does not become ready", func(ctx context.Context) error { return isReady(ctx, url) }); err != nil {
				stop()
				return nil, fmt.Errorf("%w\n%s", err, p.said())
			}
		}
		c, err := client.New(urls)
		if err != nil {
			stop()
			return nil, err
		}
		version := strings.TrimPrefix(output(e.raftNode, "version"), "raft-node ")
		return &running{version: version, config: bench.Config{Client: c, ServerCPU: p.cpu}, stop: func() { c.Close(); stop() }}, nil
	}
}

func isReady(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", res.Status)
	}
	return nil
}
