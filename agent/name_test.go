package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// TestWarnsOfANameThatIsTaken starts an agent whose name another has, may have had, and
// never had.
func TestWarnsOfANameThatIsTaken(t *testing.T) {
	for name, tt := range map[string]struct {
		node *controlplanev1.Node
		want []string
	}{
		"taken": {
			&controlplanev1.Node{Id: "n1", SessionId: "of-another", Status: controlplanev1.NodeStatus_NODE_STATUS_HEALTHY, RunningTasks: 3},
			[]string{"level=WARN", "is HEALTHY", "node=n1", "other_session=of-another", "running_tasks=3", "--name n1-2"},
		},
		"gone": {node: &controlplanev1.Node{Id: "n1", SessionId: "of-another", Status: controlplanev1.NodeStatus_NODE_STATUS_UNHEALTHY}},
		"new":  {},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t)
			p.node = tt.node
			var log bytes.Buffer
			a := startAgent(t, p, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			receive(t, "a poll", p.polls) // it registers all the same
			a.stop()
			if err := receive(t, "the end", a.done); err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if !strings.Contains(log.String(), want) {
					t.Errorf("no %q in\n%s", want, log.String())
				}
			}
			if len(tt.want) == 0 && strings.Contains(log.String(), "HEALTHY") {
				t.Errorf("it warns\n%s", log.String())
			}
		})
	}
}
