package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const nodeRemoveLong = `Forgets nodes that are gone: whose lease has lapsed, and that hold no task. A cordon, a
drain and what was held against a node are forgotten with it; tasks and attempts keep
its id. If it is heard again, it registers like a new one. To take a node out that is
still heard, drain it and stop its agent first.

Members forget by themselves what is gone for longer than 'serve --node-retention'.`

func newNodeRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "remove NODE…", Short: "Forget nodes that are gone", Long: nodeRemoveLong, Args: cobra.MinimumNArgs(1),
		Example: `  raft-node node remove gpu-7
  raft-node node list --status unhealthy -o name | xargs -r raft-node node remove`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var errs []error
			for _, id := range args { // also after one that could not be
				res, err := c.RemoveNode(cmd.Context(), &v1.RemoveNodeRequest{Id: id})
				switch {
				case err == nil:
					err = a.say(res, "%s: removed", id)
				case len(args) > 1:
					err = errors.New(naming(id, a.explain(err)))
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}

// naming is a text that names what it is about.
func naming(id, text string) string {
	if strings.Contains(text, id) {
		return text
	}
	return id + ": " + text
}
