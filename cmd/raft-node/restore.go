package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/db/raftdb"
)

const restoreLong = `Makes the data directory of a new cluster of one out of a backup. The cluster has
an id of its own; nodes are UNKNOWN until they are heard; tasks that ran when the
backup was taken are PENDING again. Afterwards start the member with the same
--data-dir and --name, and let others join it.`

const recoverLong = `Makes a cluster of one out of a stopped member whose cluster has lost its majority
for good. What only the lost members had acknowledged is gone; take the member
whose log reaches the furthest. The cluster has a new id, so that a lost member
that comes back is refused: remove its data directory, and let it join anew.`

// newRestoreCommand works on files only: no member need run.
func newRestoreCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make a new cluster of one out of a backup", Long: restoreLong, Args: cobra.ExactArgs(1),
		Example: "  raft-node restore backup.db --data-dir /var/lib/raft-node --name a",
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := a.offlineMember()
			if err != nil {
				return err
			}
			p := progressOf(a.err, func(int64, int64) string { return "checking and restoring " + args[0] }).ticking()
			index, err := raftdb.Restore(cfg, args[0])
			p.end()
			if err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			_, err = fmt.Fprintf(a.out, "restored the state at index %d into %s; start it by: raft-node serve --data-dir %s --name %s\n", index, cfg.Dir, cfg.Dir, cfg.Name)
			return err
		},
	}
	addOfflineFlags(cmd)
	return cmd
}

func newRecoverCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "recover", Short: "Let the last member of a lost cluster go on alone", Long: recoverLong, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.offlineMember()
			if err != nil {
				return err
			}
			if !a.v.GetBool("yes") {
				return usageErrorf("recover gives up the other members for good: give --yes if they are lost")
			}
			index, err := raftdb.Recover(cfg)
			if err != nil {
				return fmt.Errorf("recover: %w", err)
			}
			_, err = fmt.Fprintf(a.out, "recovered the state at index %d; start it by: raft-node serve --data-dir %s --name %s\n", index, cfg.Dir, cfg.Name)
			return err
		},
	}
	addOfflineFlags(cmd)
	cmd.Flags().Bool("yes", false, "the other members are lost for good")
	return cmd
}

func addOfflineFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("data-dir", "", "directory of the member (default: as for serve)")
	f.String("name", "", "name of the member (default: the host's name)")
	f.String("advertise", defaultListen, "host:port at which other members will reach it; corrected at the next start")
}

// offlineMember is the configuration of a member that does not run.
func (a *app) offlineMember() (raftdb.Config, error) {
	cfg := raftdb.Config{Advertise: a.v.GetString("advertise"), Version: version}
	cfg.Dir, cfg.Name = memberPlace(a.v)
	if !raftdb.ValidName(cfg.Name) {
		return cfg, usageErrorf("--name %q: give 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit", cfg.Name)
	}
	return cfg, nil
}
