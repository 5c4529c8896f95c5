package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/client"
	"github.com/raft-control-plane/control-plane/clienttest"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// TestProgressOfAFunction has a function go on once its caller has seen how far it is.
func TestProgressOfAFunction(t *testing.T) {
	t.Parallel()
	p := clienttest.New(t)
	w := testWorker(p.Client, "w1")
	seen := make(chan struct{})
	client.Register(w, "train", func(ctx context.Context, _ struct{}) (int, error) {
		client.ReportProgress(ctx, 3, 50, "epoch 3 "+strings.Repeat("ä", 200))
		<-seen
		client.ReportFraction(ctx, 1.5, "saved")
		return 50, nil
	})
	run(t, w)
	var told []string
	err := submit[struct{}, int](t, p, "train", struct{}{}, client.WithNoProgressTimeout(time.Hour)).Progress(patient(t), func(m *v1.TaskProgress) error {
		fraction, known := client.Fraction(m.GetProgress())
		told = append(told, fmt.Sprintf("%d: %.2f %v %s", m.GetAttempt(), fraction, known, strings.TrimRight(m.GetProgress().GetMessage(), "ä")))
		if len(told) == 1 {
			close(seen)
		}
		return nil
	})
	if want := []string{"1: 0.06 true epoch 3 ", "1: 1.00 true saved"}; err != nil || !slices.Equal(told, want) {
		t.Errorf("told %q, %v; want %q", told, err, want)
	}
	client.ReportProgress(t.Context(), 1, 2, "outside of a handler")
}

// TestAStuckFunctionIsStopped has one function that moves on and one that does not.
func TestAStuckFunctionIsStopped(t *testing.T) {
	t.Parallel()
	p := clienttest.New(t)
	w := testWorker(p.Client, "w1")
	_, ended := started(w, "wait")
	run(t, w)
	_, err := submit[struct{}, int](t, p, "wait", struct{}{}, client.WithNoProgressTimeout(time.Second)).Wait(patient(t))
	var failed *client.TaskError
	if !errors.As(err, &failed) || failed.Task.GetError() != "NO_PROGRESS: it has reported no progress for its no_progress_timeout of 1s" {
		t.Errorf("ended by %v", err)
	}
	if cause := <-ended; !errors.Is(cause, client.ErrTaskCancelled) {
		t.Errorf("the context ended by %v", cause)
	}
}
