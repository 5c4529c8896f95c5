package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/raft-control-plane/control-plane/client"
	"github.com/raft-control-plane/control-plane/clienttest"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

type Setting struct {
	Rate float64 `json:"rate"`
}

type Score struct {
	Loss float64 `json:"loss"`
}

// A worker runs functions, and anybody submits calls of them.
func Example() {
	ctx := context.Background()
	plane, err := clienttest.Start(ctx) // a real program knows the URLs of its members
	if err != nil {
		log.Fatal(err)
	}
	defer plane.Close()

	c, err := client.New([]string{plane.URL})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	w := client.NewWorker(c, client.WorkerOptions{Name: "w1"})
	client.Register(w, "train", func(_ context.Context, s Setting) (Score, error) {
		if s.Rate <= 0 {
			return Score{}, client.Permanent(errors.New("the rate must be positive"))
		}
		return Score{Loss: 1 / s.Rate}, nil
	})
	working, stop := context.WithCancel(ctx)
	stopped := make(chan error)
	go func() { stopped <- w.Run(working) }()

	jobs, err := client.SubmitAll[Setting, Score](ctx, c, "train", []Setting{{0.5}, {0.25}, {0.125}})
	if err != nil {
		panic(err)
	}
	scores, err := client.Results(ctx, jobs)
	fmt.Println(scores, err)

	bad, err := client.Submit[Setting, Score](ctx, c, "train", Setting{Rate: -1}, client.WithID("bad"), client.WithAttempts(3))
	if err != nil {
		panic(err)
	}
	_, err = bad.Wait(ctx)
	fmt.Println(err)

	stop()
	fmt.Println(<-stopped)
	// Output:
	// [{2} {4} {8}] <nil>
	// task bad failed at attempt 1: the rate must be positive
	// <nil>
}

// A worker's program ends in good order on Ctrl-C: what it runs gets five seconds, and is
// handed to another worker if they do not suffice.
func ExampleWorker_Run() { //nolint:testableexamples // it runs until Ctrl-C
	c, err := client.New([]string{"http://10.0.0.1:8080", "http://10.0.0.2:8080", "http://10.0.0.3:8080"}, client.WithToken(os.Getenv("RAFT_NODE_TOKEN")))
	if err != nil {
		log.Fatal(err)
	}
	w := client.NewWorker(c, client.WorkerOptions{
		Concurrency: 4,
		Capacity:    &v1.Resources{CpuMillis: 4000, MemoryBytes: 8 << 30},
		Labels:      map[string]string{"pool": "training"},
	})
	client.Register(w, "train", func(ctx context.Context, s Setting) (Score, error) {
		client.Logger(ctx).Info("training", "rate", s.Rate) // kept with the attempt
		return Score{}, ctx.Err()
	})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := w.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
