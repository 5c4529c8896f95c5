package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/client"
)

const contextLong = `A context holds what is needed to reach one control plane: the members' URLs, the
token or its file, TLS files, and the queue for tasks that name none. Contexts are
kept in $XDG_CONFIG_HOME/raft-node/contexts.yaml (or ~/.config/…), which only its
owner may read.

A flag goes before the environment, that before the file of --config, that before
the context, and that before the default. The context is the one of --context (or
RAFT_NODE_CONTEXT), else the current one. The current one is left aside when servers
are named otherwise, so that its token does not go to them, and by serve, agent and
bench, which take a context only if it is named.`

const contextAddLong = `Keeps the global flags given here (--server, --token-file, --tls-ca, --tls-client-cert,
--tls-client-key) under a name. The first context becomes the current one.

--token-file keeps where the token is; --token-stdin reads it from standard input
and keeps the token itself.`

func newContextCommand(a *app) *cobra.Command {
	cmd := newGroup("context", "Keep how to reach control planes, and choose one",
		newContextAddCommand(a), newContextUseCommand(a), newContextListCommand(a), newContextShowCommand(a), newContextRemoveCommand(a))
	cmd.Long = contextLong
	return cmd
}

func newContextAddCommand(a *app) *cobra.Command {
	var queue string
	var stdin, use, replace bool
	cmd := &cobra.Command{Use: "add NAME", Short: "Keep how to reach a control plane", Long: contextAddLong, Args: cobra.ExactArgs(1),
		Example: `  raft-node context add prod --server https://a:8080,https://b:8080 --tls-ca ca.pem --token-file token
  raft-node context add lab --server http://lab:8080 --queue experiments --token-stdin <token`}
	f := cmd.Flags()
	f.StringVar(&queue, "queue", "", "queue for tasks that name none")
	f.BoolVar(&stdin, "token-stdin", false, "read the token from standard input and keep it")
	f.BoolVar(&use, "use", false, "make it the current one")
	f.BoolVar(&replace, "replace", false, "replace a context of this name")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		made, err := a.newContext(cmd, args[0], stdin)
		if err != nil {
			return usageErrorf("%w", err)
		}
		made.Queue = queue
		file, err := readContexts(a.err)
		if err != nil {
			return err
		}
		if file.Contexts[args[0]] != nil && !replace {
			return usageErrorf("there is a context %q already: give another name, or --replace", args[0])
		}
		file.Contexts[args[0]] = made
		if use || file.Current == "" {
			file.Current = args[0]
		}
		if err := file.write(); err != nil {
			return err
		}
		return a.printContexts(file, args[0])
	}
	return cmd
}

// newContext makes a context of the flags that are given, and reports every mistake
// at once.
func (a *app) newContext(cmd *cobra.Command, name string, stdin bool) (*savedContext, error) {
	var errs []error
	c := &savedContext{}
	path := func(flag string, to *string) {
		if !cmd.Flags().Changed(flag) {
			return
		}
		var err error
		if *to, err = filepath.Abs(cmd.Flag(flag).Value.String()); err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	path("token-file", &c.TokenFile)
	path("tls-ca", &c.TLSCA)
	path("tls-client-cert", &c.TLSClientCert)
	path("tls-client-key", &c.TLSClientKey)
	if !contextName.MatchString(name) {
		errs = append(errs, fmt.Errorf("name %q: give 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit", name))
	}
	if c.Servers = list(a.v, "server"); !cmd.Flags().Changed("server") {
		errs = append(errs, errors.New("--server is missing: give the URLs of one or more members"))
	} else if _, err := client.New(c.Servers); err != nil {
		errs = append(errs, fmt.Errorf("--server: %w", err))
	}
	if stdin {
		text, err := io.ReadAll(io.LimitReader(a.in, 1<<16))
		if c.Token = strings.TrimSpace(string(text)); err == nil && c.Token == "" {
			err = errors.New("standard input is empty")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--token-stdin: %w", err))
		}
		if c.TokenFile != "" {
			errs = append(errs, errors.New("--token-file and --token-stdin exclude each other: give one of them"))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	_, err := tlsConfig(c.TLSCA, c.TLSClientCert, c.TLSClientKey)
	return c, err
}

func newContextUseCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "use NAME", Short: "Make a context the current one", Args: cobra.ExactArgs(1), ValidArgsFunction: completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := readContexts(a.err)
			if err != nil {
				return err
			}
			if _, err := file.find(args[0]); err != nil {
				return err
			}
			file.Current = args[0]
			if err := file.write(); err != nil {
				return err
			}
			return a.printContexts(file, args[0])
		}}
}

func newContextListCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the contexts", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			file, err := readContexts(a.err)
			if err != nil {
				return err
			}
			if len(file.Contexts) == 0 {
				fmt.Fprintln(a.err, "raft-node: there are no contexts: 'raft-node context add NAME --server URL' makes one")
			}
			return a.printContexts(file, file.names()...)
		}}
}

func newContextShowCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "show [NAME]", Short: "Show a context: the one that is used, or the one named", Args: cobra.MaximumNArgs(1), ValidArgsFunction: completeContexts,
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readContexts(a.err)
			if err != nil {
				return err
			}
			name := file.Current
			if given := a.v.GetString("context"); given != "" {
				name = given
			}
			if len(args) > 0 {
				name = args[0]
			}
			if name == "" {
				return fmt.Errorf("no context is used, commands ask %s: 'raft-node context add' makes one", strings.Join(list(a.v, "server"), ", "))
			}
			if _, err := file.find(name); err != nil {
				return err
			}
			return a.printContexts(file, name)
		}}
}

func newContextRemoveCommand(a *app) *cobra.Command {
	return limitFormats(&cobra.Command{Use: "remove NAME", Short: "Forget a context", Args: cobra.ExactArgs(1), ValidArgsFunction: completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := readContexts(a.err)
			if err != nil {
				return err
			}
			if _, err := file.find(args[0]); err != nil {
				return err
			}
			delete(file.Contexts, args[0])
			if file.Current == args[0] {
				file.Current = ""
			}
			if err := file.write(); err != nil {
				return err
			}
			if a.forPrograms() {
				return a.printValue(file.names())
			}
			_, err = fmt.Fprintf(a.out, "%s: forgotten\n", args[0])
			return err
		}}, nameless)
}

// shownContext is a context as programs see it: without its token.
type shownContext struct {
	Name     string `json:"name"`
	Current  bool   `json:"current"`
	HasToken bool   `json:"hasToken"`
	*savedContext
}

func (a *app) printContexts(file *contextFile, names ...string) error {
	var all []shownContext
	for _, name := range names {
		c := file.Contexts[name]
		all = append(all, shownContext{name, name == file.Current, c.Token != "" || c.TokenFile != "", c})
	}
	switch a.format() {
	case formatTable, formatWide:
		return a.printTable(func(w io.Writer) { a.contextTable(w, all) })
	case formatName:
		for _, c := range all {
			fmt.Fprintln(a.out, c.Name)
		}
		return nil
	case formatLines:
		for _, c := range all {
			if err := a.printValue(c); err != nil {
				return err
			}
		}
		return nil
	}
	return a.printValue(map[string]any{"contexts": all})
}

func (a *app) contextTable(w io.Writer, all []shownContext) {
	head := []string{"CURRENT", "CONTEXT", "SERVER", "TOKEN", "QUEUE"}
	if a.wide() {
		head = append(head, "TLS CA", "CLIENT CERTIFICATE")
	}
	row(w, head...)
	for _, c := range all {
		current, token := "", "none"
		if c.Current {
			current = "*"
		}
		if c.TokenFile != "" {
			token = c.TokenFile
		} else if c.Token != "" {
			token = "kept here"
		}
		cells := []string{current, c.Name, strings.Join(c.Servers, ","), token, dash(c.Queue)}
		if a.wide() {
			cells = append(cells, dash(c.TLSCA), dash(c.TLSClientCert))
		}
		row(w, cells...)
	}
}

func completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	file, err := readContexts(io.Discard)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return file.names(), cobra.ShellCompDirectiveNoFileComp
}
