package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/raft-control-plane/control-plane/internal/bench"
)

// etcdQueue keeps tasks as keys: a worker watches them, claims one in a transaction, and
// puts its result and deletes task and claim in another.
type etcdQueue struct {
	client *clientv3.Client
	prefix string // of this process's ids
	next   atomic.Int64
}

// startEtcd starts members.
func startEtcd(members int) func(context.Context, *env) (*running, error) {
	return func(ctx context.Context, e *env) (*running, error) {
		server, err := e.find("etcd")
		if err != nil {
			return nil, err
		}
		ports, err := freePorts(2 * members)
		if err != nil {
			return nil, err
		}
		p := &processes{log: filepath.Join(e.dir, "log")}
		stop := func() { p.stop(syscall.SIGTERM) }
		urls, err := startEtcdMembers(e, p, server, ports[:members], ports[members:])
		if err != nil {
			stop()
			return nil, err
		}
		c, err := clientv3.New(clientv3.Config{Endpoints: urls, DialTimeout: 5 * time.Second, Logger: zap.NewNop(), MaxCallSendMsgSize: 16 << 20})
		if err != nil {
			stop()
			return nil, err
		}
		t := &etcdQueue{client: c, prefix: strconv.FormatInt(time.Now().UnixNano(), 36)}
		if err := until(ctx, "etcd does not work", func(ctx context.Context) error {
			_, err := c.Put(ctx, "ready", "")
			return err
		}); err != nil {
			stop()
			return nil, fmt.Errorf("%w\n%s", err, p.said())
		}
		version := strings.TrimPrefix(output(server, "--version"), "etcd Version: ")
		return &running{version: version, config: bench.Config{Target: t, ServerCPU: p.cpu}, stop: func() { _ = c.Close(); stop() }}, nil
	}
}

func startEtcdMembers(e *env, p *processes, server string, ports, peerPorts []int) (urls []string, err error) {
	var cluster []string
	for i, port := range peerPorts {
		cluster = append(cluster, fmt.Sprintf("m%d=http://127.0.0.1:%d", i+1, port))
	}
	for i, port := range ports {
		name, url := fmt.Sprintf("m%d", i+1), fmt.Sprintf("http://127.0.0.1:%d", port)
		_, peer, _ := strings.Cut(cluster[i], "=")
		err := p.start(e.dir, "", server, "--name", name, "--data-dir", filepath.Join(e.dir, name),
			"--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(cluster, ","), "--log-level", "error",
			"--max-txn-ops", "4096", "--max-request-bytes", strconv.Itoa(16<<20), "--quota-backend-bytes", strconv.Itoa(8<<30))
		if err != nil {
			return nil, err
		}
		urls = append(urls, url)
	}
	return urls, nil
}

func (t *etcdQueue) id() string { return fmt.Sprintf("%s-%012d", t.prefix, t.next.Add(1)) }

// Open implements bench.Target.
func (t *etcdQueue) Open(context.Context, string) error { return nil }

// Submit implements bench.Target.
func (t *etcdQueue) Submit(ctx context.Context, queue string, payload []byte) error {
	_, err := t.client.Put(ctx, "task/"+queue+"/"+t.id(), string(payload))
	return err
}

// SubmitBatch implements bench.Target, in one transaction.
func (t *etcdQueue) SubmitBatch(ctx context.Context, queue string, payloads [][]byte) error {
	puts := make([]clientv3.Op, 0, len(payloads))
	for _, payload := range payloads {
		puts = append(puts, clientv3.OpPut("task/"+queue+"/"+t.id(), string(payload)))
	}
	_, err := t.client.Txn(ctx).Then(puts...).Commit()
	return err
}

// Work implements bench.Target.
func (t *etcdQueue) Work(ctx context.Context, queue string, slots int, run func([]byte)) (stop func() error, err error) {
	watching, cancel := context.WithCancel(ctx)
	watch := t.client.Watch(clientv3.WithRequireLeader(watching), "task/"+queue+"/", clientv3.WithPrefix(), clientv3.WithFilterDelete(), clientv3.WithCreatedNotify())
	if r := <-watch; r.Err() != nil { // it was created
		cancel()
		return nil, r.Err()
	}
	tasks := make(chan *clientv3.Event, slots)
	var works sync.WaitGroup
	var first onceError
	for range slots {
		works.Go(func() {
			for ev := range tasks {
				first.set(t.do(ctx, queue, ev, run))
			}
		})
	}
	go func() {
		defer close(tasks)
		for r := range watch {
			for _, ev := range r.Events {
				tasks <- ev
			}
		}
	}()
	return func() error {
		cancel()
		works.Wait()
		return first.get()
	}, nil
}

// do claims a task, runs it and records that it is done.
func (t *etcdQueue) do(ctx context.Context, queue string, ev *clientv3.Event, run func([]byte)) error {
	task := string(ev.Kv.Key)
	id := strings.TrimPrefix(task, "task/"+queue+"/")
	claim := "claim/" + queue + "/" + id
	got, err := t.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(claim), "=", 0), clientv3.Compare(clientv3.CreateRevision(task), ">", 0)).
		Then(clientv3.OpPut(claim, t.prefix)).Commit()
	if err != nil || !got.Succeeded { // another worker has it
		return err
	}
	run(ev.Kv.Value)
	res, err := t.client.Txn(ctx).If(clientv3.Compare(clientv3.Value(claim), "=", t.prefix)).
		Then(clientv3.OpPut("done/"+queue+"/"+id, "true"), clientv3.OpDelete(task), clientv3.OpDelete(claim)).Commit()
	if err == nil && !res.Succeeded {
		err = fmt.Errorf("the claim of %s is lost", task)
	}
	return err
}

// Recorded implements bench.Target.
func (t *etcdQueue) Recorded(ctx context.Context, queue string) (int64, error) {
	res, err := t.client.Get(ctx, "done/"+queue+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return res.Count, nil
}
