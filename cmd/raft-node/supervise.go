package main

import (
	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/agent"
)

// newSuperviseCommand is what the agent runs each task under: see agent.Supervise.
// It is hidden, and takes its orders from standard input only.
func newSuperviseCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "supervise",
		Short:              "Run one task under the orders of an agent, which starts this by itself",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if code := agent.Supervise(args); code != 0 {
				return exitError{code: code}
			}
			return nil
		},
	}
}
