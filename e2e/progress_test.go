package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// climbing names the file that climb waits for.
type climbing struct {
	Gate string `json:"gate"`
}

// climb goes on once the file is there, which its caller makes when it has seen how far
// it is.
func climb(ctx context.Context, args climbing) (string, error) {
	client.ReportProgress(ctx, 1, 2, "Grüße")
	for {
		if _, err := os.Stat(args.Gate); err == nil {
			client.ReportProgress(ctx, 2, 2, "done")
			return "up", nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

var climbed = []string{"1 2 Grüße", "2 2 done"}

// TestProgressInEveryLanguage has workers in Go and in Python, and a command under an agent,
// tell how far they are to clients in Go and in Python, through a member that does not
// lead.
func TestProgressInEveryLanguage(t *testing.T) {
	c := newCluster(t, 3)
	_, followers := c.leader()
	address := c.addresses[followers[0]]
	sdk, err := client.New([]string{"http://" + address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sdk.Close)
	interopGoWorker(t, sdk)
	interopPythonWorker(t, address)
	c.addAgent("agent", 1)
	for _, where := range []string{"go", "python"} {
		t.Run(where+" to Go", func(t *testing.T) {
			t.Parallel()
			gate := filepath.Join(t.TempDir(), "gate")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			job, err := client.Submit[climbing, string](ctx, sdk, where+"/climb", climbing{gate}, client.WithNoProgressTimeout(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			followClimb(t, ctx, job, gate)
		})
		t.Run(where+" to Python", func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(sdkPython(t), interopProgram, "follow", where)
			var complaints bytes.Buffer
			cmd.Env, cmd.Stderr = sdkPythonEnv(address), &complaints
			out, err := cmd.Output()
			if want := climbed[0] + "\n" + climbed[1] + "\n"; err != nil || string(out) != want {
				t.Errorf("it prints %q, want %q: %v\n%s", out, want, err, &complaints)
			}
		})
	}
	t.Run("a command to Go", func(t *testing.T) {
		t.Parallel()
		gate := filepath.Join(t.TempDir(), "gate")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		script := fmt.Sprintf(`echo 1/2 Grüße > "$TASK_PROGRESS_FILE"; while [ ! -e %s ]; do sleep 0.02; done; echo '{"done":2,"total":2,"message":"done"}' >> "$TASK_PROGRESS_FILE"`, gate)
		res, err := sdk.SubmitTask(ctx, &v1.SubmitTaskRequest{Task: &v1.Task{Work: &v1.Task_Exec{Exec: &v1.ExecTask{Command: []string{"sh", "-c", script}}}}})
		if err != nil {
			t.Fatal(err)
		}
		followClimb(t, ctx, client.JobOf[string](sdk, res.GetTask().GetId()), gate)
	})
}

// followClimb lets the task go on once it was heard, and looks at what it said until its end.
func followClimb(t *testing.T, ctx context.Context, job *client.Job[string], gate string) { //nolint:revive // t first, as everywhere
	t.Helper()
	var told []string
	err := job.Progress(ctx, func(p *v1.TaskProgress) error {
		told = append(told, fmt.Sprintf("%d %d %s", p.GetProgress().GetDone(), p.GetProgress().GetTotal(), p.GetProgress().GetMessage()))
		return os.WriteFile(gate, nil, 0o600)
	})
	if err != nil || !slices.Equal(told, climbed) {
		t.Errorf("it told %q, %v; want %q", told, err, climbed)
	}
	task, err := job.Task(ctx)
	if err != nil || task.GetStatus() != v1.TaskStatus_TASK_STATUS_COMPLETED || task.GetProgress().GetDone() != 2 {
		t.Errorf("it ended as %v, %v", task, err)
	}
}
