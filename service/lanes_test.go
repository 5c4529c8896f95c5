package service

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// TestManyCallsTakeSeveralConnections: what waits at another member is spread, and few calls
// share the first connection.
func TestManyCallsTakeSeveralConnections(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived, release := make(chan string), make(chan struct{})
	srv := newHTTPServer(context.Background(), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- r.RemoteAddr
		<-release
	}), nil, slog.New(slog.DiscardHandler))
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	client := newPeers("", nil).http
	get := func() {
		res, err := client.Get("http://" + ln.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		_ = res.Body.Close()
	}
	const calls = 2*laneCalls + 1
	var all sync.WaitGroup
	count := map[string]int{}
	for range calls {
		all.Go(get)
		count[<-arrived]++
	}
	// A lane may have two: until net/http has read how many calls a server takes, it sends 100.
	if most := slices.Max(slices.Collect(maps.Values(count))); len(count) < 3 || len(count) > 6 || most > laneCalls {
		t.Errorf("%d calls take %d connections: %v", calls, len(count), count)
	}
	close(release)
	all.Wait()
	count = map[string]int{}
	for range 3 {
		all.Go(get)
		count[<-arrived]++
		all.Wait()
	}
	if len(count) != 1 {
		t.Errorf("calls one after the other take %d connections", len(count))
	}
}

func TestConnectionsLeaveFilesToTheRest(t *testing.T) {
	for files, want := range map[uint64]int{10: 64, 1024: 768, 20_000: 15_000, 1 << 20: maxConnections} {
		if got := connectionLimit(files); got != want {
			t.Errorf("of %d files %d connections; want %d", files, got, want)
		}
	}
}
