package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"
)

// app is what every command works with.
type app struct {
	v        *viper.Viper
	in       io.Reader
	out, err io.Writer
	// started is set once a command's own work begins: what fails before is a
	// mistake in how it was called.
	started bool
	// context is the one that settings were taken from; nil if none.
	context *usedContext
	noted   bool
}

const (
	defaultServer      = "http://127.0.0.1:8080"
	defaultCallTimeout = 30 * time.Second
)

const rootLong = `raft-node is a control plane for machine-learning work on machines of several
clouds: 'serve' runs a member, 'agent' runs tasks on a machine, and the other
commands talk to the members.

Each setting of serve and agent, and each global flag, can also be given by the
environment (RAFT_NODE_ and the flag's name in capitals, '-' as '_') and by a YAML
file named by --config (the flag's name as key). A flag goes before the
environment, that before the file, and that before the context: see 'raft-node
context' for keeping how to reach a control plane. Only contexts are read without
being named.

Exit codes: 0 done, 1 failed, 2 called wrongly; 'raft-node help exit-codes' has more.
Colours are for terminals only, and not if NO_COLOR is set.`

// groups of the help text.
const (
	groupRun   = "run"
	groupAsk   = "ask"
	groupOther = "other"
)

// idleGlobals are global flags that say nothing to a command. They are refused
// there, and not shown in its help.
var idleGlobals = map[string][]string{
	"serve":   {"context", "server", "output", "tls-client-cert", "tls-client-key", "call-timeout"},
	"agent":   {"output", "call-timeout"},
	"restore": {"context", "server", "output", "token-file", "tls-ca", "tls-client-cert", "tls-client-key", "call-timeout"},
	"recover": {"context", "server", "output", "token-file", "tls-ca", "tls-client-cert", "tls-client-key", "call-timeout"},
	"version": {"context", "server", "token-file", "tls-ca", "tls-client-cert", "tls-client-key", "call-timeout"},
}

func newRoot(a *app) *cobra.Command {
	a.v = viper.New()
	root := &cobra.Command{
		Use: "raft-node", Short: "A Raft control plane for multi-cloud ML work", Long: rootLong,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.configure(cmd) },
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	addGlobalFlags(root)
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupAsk, Title: "Use:"},
		&cobra.Group{ID: groupOther, Title: "Other:"},
	)
	addCommands(root, groupRun, newServeCommand(a), newAgentCommand(a), newRestoreCommand(a), newRecoverCommand(a), newSuperviseCommand())
	addCommands(root, groupAsk, newSubmitCommand(a), newMapCommand(a), newTaskCommand(a), newLogsCommand(a), newQueueCommand(a), newNodeCommand(a), newClusterCommand(a), newTopCommand(a), newSQLCommand(a), newBackupCommand(a))
	addCommands(root, groupOther, newContextCommand(a), newBenchCommand(a), newVersionCommand(a))
	root.AddCommand(newExitCodesTopic())
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	root.RunE = subcommandNeeded
	root.Version = version
	root.SetVersionTemplate(versionLine())
	root.InitDefaultHelpCmd()
	refuseUnknownTopics(root)
	a.prepare(root)
	return root
}

func addGlobalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.String("config", "", "YAML file with settings")
	f.StringSlice("server", []string{defaultServer}, "URLs of members, comma-separated; host:port will do")
	f.String("token-file", "", "file with the secret that the members share")
	f.String("tls-ca", "", "file with the authorities that sign the members' certificates, PEM; makes https of a --server without scheme")
	f.VarP(newChoice(formatTable, append(slices.Clone(formats), formatCSV)...), "output", "o", "table and wide for people; json, jsonl (a line for each), yaml and name (names alone) for programs; sql has csv")
	f.String("tls-client-cert", "", "file with the certificate of this caller, PEM, where a proxy before the members asks for one")
	f.String("tls-client-key", "", "file with its private key, PEM")
	f.String("context", "", "take what is not given otherwise from this context (default: the current one, see 'raft-node context')")
	must(root.RegisterFlagCompletionFunc("context", completeContexts))
	f.Duration("call-timeout", defaultCallTimeout, "longest time for one call, retries included")
	must(root.RegisterFlagCompletionFunc("output", completeFormat))
	must(root.MarkPersistentFlagFilename("config", "yaml", "yml"))
}

func addCommands(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// prepare gives every command of the tree what cobra does not.
func (a *app) prepare(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageErrorf("%w", err) })
	if work := cmd.RunE; work != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.started = true
			return work(cmd, args)
		}
	}
	if idle := idleGlobals[cmd.Name()]; idle != nil && cmd.Parent() == cmd.Root() {
		hideInHelp(cmd, idle)
	}
	a.completeLive(cmd)
	for _, c := range cmd.Commands() {
		a.prepare(c)
	}
}

func hideInHelp(cmd *cobra.Command, flags []string) {
	cmd.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		global := cmd.Root().PersistentFlags()
		for _, name := range flags {
			f := global.Lookup(name)
			f.Hidden = true
			defer func() { f.Hidden = false }()
		}
		cmd.Root().HelpFunc()(cmd, args)
	})
}

// refuseIdle refuses global flags on a command that would ignore them.
func refuseIdle(cmd *cobra.Command) error {
	for _, name := range idleGlobals[cmd.Name()] {
		if f := cmd.InheritedFlags().Lookup(name); f != nil && f.Changed && cmd.Parent() == cmd.Root() {
			return usageErrorf("--%s has no meaning for '%s': leave it out", name, cmd.CommandPath())
		}
	}
	return nil
}

// newGroup makes a command that only holds others.
func newGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: subcommandNeeded}
	cmd.AddCommand(commands...)
	return cmd
}

// subcommandNeeded is the work of a command that has none of its own.
func subcommandNeeded(cmd *cobra.Command, args []string) error {
	if len(args) == 0 && cmd == cmd.Root() {
		return cmd.Help()
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if len(args) == 0 {
		return usageErrorf("'%s' needs a subcommand: %s", cmd.CommandPath(), strings.Join(names, ", "))
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		names = near
	}
	return usageErrorf("'%s' has no subcommand %q: did you mean %s?", cmd.CommandPath(), args[0], strings.Join(names, ", "))
}

// refuseUnknownTopics has 'help' fail for what there is no help of: cobra's own prints
// that, and succeeds.
func refuseUnknownTopics(root *cobra.Command) {
	for _, help := range root.Commands() {
		if help.Name() != "help" {
			continue
		}
		help.Run = nil
		help.RunE = func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err != nil || about == nil {
				return subcommandNeeded(root, args)
			}
			if len(rest) > 0 && about.HasSubCommands() {
				return subcommandNeeded(about, rest)
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return about.Help()
		}
	}
}

// completions completes one of the given words.
func completions(words ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// must is for mistakes in this program that every run of it would show.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// choice is the value of a flag that takes one of a few words.
type choice struct {
	value   string
	allowed []string
}

func newChoice(value string, allowed ...string) *choice {
	return &choice{value: value, allowed: allowed}
}

// String implements pflag.Value.
func (c *choice) String() string { return c.value }

// Type implements pflag.Value.
func (c *choice) Type() string { return strings.Join(c.allowed, "|") }

// Set implements pflag.Value.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("give %s", strings.Join(c.allowed, ", "))
	}
	c.value = s
	return nil
}
