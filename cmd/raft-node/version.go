package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// version is set when the binary is built: -ldflags "-X main.version=…".
var version = "dev"

const platform = runtime.GOOS + "/" + runtime.GOARCH

func versionLine() string {
	return fmt.Sprintf("raft-node %s (%s, %s)\n", version, runtime.Version(), platform)
}

func newVersionCommand(a *app) *cobra.Command {
	return limitFormats(&cobra.Command{
		Use: "version", Short: "Print the version of this binary", Args: cobra.NoArgs,
		Long: "Prints the version of this binary. 'raft-node cluster status' shows those of the members.",
		RunE: func(*cobra.Command, []string) error {
			if a.forPrograms() {
				return a.printValue(struct {
					Version  string `json:"version"`
					Go       string `json:"go"`
					Platform string `json:"platform"`
				}{version, runtime.Version(), platform})
			}
			_, err := io.WriteString(a.out, versionLine())
			return err
		},
	}, nameless)
}
