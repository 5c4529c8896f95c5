// Command raft-node is the control plane in one binary: members (serve), workers
// (agent), and the commands that talk to them.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, a *app) int {
	root := newRoot(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return a.finish(cmd, err)
}
