package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// version is set when the binary is built: -ldflags "-X main.version=…".
var version = "dev"

func newVersionCommand(a *app) *cobra.Command {
	return limitFormats(&cobra.Command{
		Use: "version", Short: "Print the version of this binary", Args: cobra.NoArgs,
		Long: "Prints the version of this binary. 'raft-node cluster status' shows those of the members.",
		RunE: func(*cobra.Command, []string) error {
			platform := runtime.GOOS + "/" + runtime.GOARCH
			if a.forPrograms() {
				return a.printValue(struct {
					Version  string `json:"version"`
					Go       string `json:"go"`
					Platform string `json:"platform"`
				}{version, runtime.Version(), platform})
			}
			_, err := fmt.Fprintf(a.out, "raft-node %s (%s, %s)\n", version, runtime.Version(), platform)
			return err
		},
	}, nameless)
}
