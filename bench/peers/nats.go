package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/raft-control-plane/control-plane/internal/bench"
)

// jetStream keeps a queue as a work queue stream, and results as a stream of their own.
type jetStream struct {
	conn     *nats.Conn
	js       jetstream.JetStream
	replicas int
}

const natsConfig = `
listen: 127.0.0.1:%d
server_name: n%d
jetstream { store_dir: %q, sync_interval: always, max_file_store: 50GB }
`

const natsCluster = `
cluster { name: bench, listen: 127.0.0.1:%d, routes: [%s] }
`

// startNATS starts servers with JetStream.
func startNATS(replicas int) func(context.Context, *env) (*running, error) {
	return func(ctx context.Context, e *env) (*running, error) {
		server, err := e.find("nats-server")
		if err != nil {
			return nil, err
		}
		ports, err := freePorts(2 * replicas)
		if err != nil {
			return nil, err
		}
		p := &processes{log: filepath.Join(e.dir, "log")}
		stop := func() { p.stop(syscall.SIGTERM) }
		if err := startNATSServers(e, p, server, ports[:replicas], ports[replicas:]); err != nil {
			stop()
			return nil, err
		}
		t := &jetStream{replicas: replicas}
		if err := t.connect(ctx, ports[:replicas]); err != nil {
			stop()
			return nil, fmt.Errorf("%w\n%s", err, p.said())
		}
		version := strings.TrimPrefix(output(server, "--version"), "nats-server: ")
		return &running{version: version, config: bench.Config{Target: t, ServerCPU: p.cpu}, stop: func() { t.conn.Close(); stop() }}, nil
	}
}

func startNATSServers(e *env, p *processes, server string, ports, routes []int) error {
	var urls []string
	for _, r := range routes {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", r))
	}
	for i, port := range ports {
		config := fmt.Sprintf(natsConfig, port, i+1, filepath.Join(e.dir, fmt.Sprintf("n%d", i+1)))
		if len(ports) > 1 {
			config += fmt.Sprintf(natsCluster, routes[i], strings.Join(urls, ", "))
		}
		path := filepath.Join(e.dir, fmt.Sprintf("n%d.conf", i+1))
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			return err
		}
		if err := p.start(e.dir, "", server, "-c", path); err != nil {
			return err
		}
	}
	return nil
}

func (t *jetStream) connect(ctx context.Context, ports []int) error {
	var urls []string
	for _, port := range ports {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	return until(ctx, "JetStream does not work", func(ctx context.Context) error {
		conn, err := nats.Connect(strings.Join(urls, ","))
		if err != nil {
			return err
		}
		js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(16384))
		if err == nil {
			_, err = js.AccountInfo(ctx)
		}
		if err == nil { // there is a leader of the group that makes streams
			t.conn, t.js = conn, js
			err = t.Open(ctx, "ready")
		}
		if err != nil {
			conn.Close()
		}
		return err
	})
}

// Open implements bench.Target.
func (t *jetStream) Open(ctx context.Context, queue string) error {
	_, err := t.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: queue, Subjects: []string{"task." + queue}, Retention: jetstream.WorkQueuePolicy,
		Storage: jetstream.FileStorage, Replicas: t.replicas, AllowAtomicPublish: true,
	})
	if err != nil {
		return err
	}
	_, err = t.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: queue + "-done", Subjects: []string{"done." + queue}, Storage: jetstream.FileStorage, Replicas: t.replicas,
	})
	return err
}

// Submit implements bench.Target.
func (t *jetStream) Submit(ctx context.Context, queue string, payload []byte) error {
	_, err := t.js.Publish(ctx, "task."+queue, payload)
	return err
}

// SubmitBatch implements bench.Target, by an atomic batch: the server answers the last
// message for all of them.
func (t *jetStream) SubmitBatch(ctx context.Context, queue string, payloads [][]byte) error {
	id := nuid.Next()
	for i, payload := range payloads {
		msg := nats.NewMsg("task." + queue)
		msg.Data = payload
		msg.Header.Set("Nats-Batch-Id", id)
		msg.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if i < len(payloads)-1 {
			if err := t.conn.PublishMsg(msg); err != nil {
				return err
			}
			continue
		}
		msg.Header.Set("Nats-Batch-Commit", "1")
		ack, err := t.js.PublishMsg(ctx, msg)
		if err != nil {
			return err
		}
		if ack.Sequence == 0 {
			return errors.New("the batch was not stored")
		}
	}
	return nil
}

// Work implements bench.Target: a result is stored before its task is acknowledged.
func (t *jetStream) Work(ctx context.Context, queue string, slots int, run func([]byte)) (stop func() error, err error) {
	consumer, err := t.js.CreateOrUpdateConsumer(ctx, queue, jetstream.ConsumerConfig{
		Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute, MaxAckPending: 4 * slots, Replicas: t.replicas,
	})
	if err != nil {
		return nil, err
	}
	free := make(chan struct{}, slots)
	var works sync.WaitGroup
	var first onceError
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		free <- struct{}{}
		works.Go(func() {
			defer func() { <-free }()
			run(msg.Data())
			_, err := t.js.Publish(ctx, "done."+queue, []byte("true"))
			if err == nil {
				err = msg.Ack()
			}
			first.set(err)
		})
	}, jetstream.PullMaxMessages(4*slots))
	if err != nil {
		return nil, err
	}
	return func() error {
		consuming.Drain()
		<-consuming.Closed()
		works.Wait()
		return first.get()
	}, nil
}

// Recorded implements bench.Target.
func (t *jetStream) Recorded(ctx context.Context, queue string) (int64, error) {
	s, err := t.js.Stream(ctx, queue+"-done")
	if err != nil {
		return 0, err
	}
	info, err := s.Info(ctx)
	if err != nil {
		return 0, err
	}
	return int64(info.State.Msgs), nil //nolint:gosec // a count
}

// onceError keeps the first error of several.
type onceError struct {
	mu  sync.Mutex
	err error
}

func (o *onceError) set(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
}

func (o *onceError) get() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
