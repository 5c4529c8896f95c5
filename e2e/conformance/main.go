// Command server is the server under test of Connect's conformance suite: a whole
// member of the control plane, as the binary wires it, which serves the suite's
// ConformanceService beside its own services. The suite says on standard input
// what to serve, and is told the address on standard output.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/db/raftdb"
	conformancev1 "github.com/raft-control-plane/control-plane/e2e/conformance/stubs/connectrpc/conformance/v1"
	"github.com/raft-control-plane/control-plane/e2e/conformance/stubs/connectrpc/conformance/v1/conformancev1connect"
	"github.com/raft-control-plane/control-plane/scheduler"
	"github.com/raft-control-plane/control-plane/service"
)

// token is the secret of a member that is run with one.
const token = "conformance-token"

func main() {
	withToken := flag.Bool("token", false, "require a token and allow web pages of another origin, as between machines; otherwise check the Host header, as on loopback")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, *withToken, os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves what the request on in asks for until ctx ends.
func run(ctx context.Context, withToken bool, in io.Reader, out io.Writer) (err error) {
	var req conformancev1.ServerCompatRequest
	if err := readMessage(in, &req); err != nil {
		return err
	}
	tlsConfig, err := serverTLS(&req)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m := member{dir: dir, ln: ln, tls: tlsConfig, log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if withToken {
		m.token = token
	}
	limit := int(req.GetMessageReceiveLimit())
	m.mount = func(mux *http.ServeMux, opts ...connect.HandlerOption) {
		if limit > 0 { // the suite's limit in place of the contract's
			opts = append(opts, connect.WithReadMaxBytes(limit))
		}
		mux.Handle(conformancev1connect.NewConformanceServiceHandler(conformanceService{}, opts...))
	}
	return m.serve(ctx, func() error {
		port := ln.Addr().(*net.TCPAddr).Port
		return writeMessage(out, &conformancev1.ServerCompatResponse{Host: "127.0.0.1", Port: uint32(port), PemCert: req.GetServerCreds().GetCert()})
	})
}

// serverTLS uses the certificate that the suite brings.
func serverTLS(req *conformancev1.ServerCompatRequest) (*tls.Config, error) {
	if !req.GetUseTls() {
		return nil, nil
	}
	cert, err := tls.X509KeyPair(req.GetServerCreds().GetCert(), req.GetServerCreds().GetKey())
	if err != nil {
		return nil, fmt.Errorf("certificate of the suite: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}

// member is a cluster of one.
type member struct {
	dir   string
	ln    net.Listener
	tls   *tls.Config
	token string
	mount func(mux *http.ServeMux, opts ...connect.HandlerOption)
	log   *slog.Logger
}

// serve runs the member until ctx ends, and calls ready once it takes writes.
func (m member) serve(ctx context.Context, ready func() error) error {
	engine, err := raftdb.Open(raftdb.Config{Dir: m.dir, Name: "m1", Advertise: m.ln.Addr().String(), Token: m.token, Version: "conformance", Logger: m.log})
	if err != nil {
		return err
	}
	tasks := db.NewTaskManifest(engine)
	tasks.SetLogger(m.log)
	handler, err := service.New(m.config(engine, tasks))
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	running, stopRunning := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- tasks.Run(running) }()
	serving, stopServing := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- service.Serve(serving, m.ln, m.authorize(handler), m.tls, m.log) }()

	err = tasks.AwaitWritable(ctx)
	if err == nil {
		err = ready()
	}
	if err != nil {
		stopServing()
	}
	err = errors.Join(err, <-served)
	stopServing()
	stopRunning()
	return errors.Join(err, <-ran, engine.Close())
}

// authorize adds the token to each call, since the suite's client has no way to be
// given one.
func (m member) authorize(next http.Handler) http.Handler {
	if m.token == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+m.token)
		next.ServeHTTP(w, r)
	})
}

func (m member) config(engine *raftdb.Engine, tasks *db.TaskManifest) service.Config {
	cfg := service.Config{
		Tasks: tasks, Scheduler: scheduler.New(tasks, m.log), Admin: engine, Raft: engine.Handler(), Ready: tasks.CaughtUp,
		Token: m.token, Loopback: true, Version: "conformance", Logger: m.log, Mount: m.mount,
	}
	if m.token != "" {
		cfg.CORSOrigins = []string{"https://console.example.com"}
	}
	return cfg
}
