package main

import "github.com/spf13/cobra"

const exitCodesLong = `Exit codes of all commands:

  0    done; of what is watched or followed until Ctrl-C by nature, also its regular end
  1    failed: the line on standard error says why, and what to do
  2    called wrongly: a flag, an argument, a setting or a context; nothing was done
  124  'task wait --timeout': the time was over before
  130  Ctrl-C or SIGTERM while a command waited, which ends the waiting and nothing else,
       or while it submitted several tasks or tried them again: it says how many;
       'submit --wait': the task was cancelled

'submit --wait' of one task exits with the exit code of its process if it failed with
one, 1 to 255. 'submit --array --wait', 'submit --file --wait' and 'map' exit with 1 if
any task did not complete. 'cluster verify' exits with 1 unless all members answer and
hold the same. 'serve' and 'agent' exit with 0 after SIGTERM or Ctrl-C.`

// newExitCodesTopic is a page of help, not a command.
func newExitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What exit codes mean", Long: exitCodesLong}
}
