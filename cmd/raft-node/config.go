package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/raft-control-plane/control-plane/client"
)

// patience is how long a command goes on when nothing answers at all. A member
// that starts again needs less.
const patience = 3 * time.Second

// configure takes what no flag says from the environment and the file, and binds
// everything to a.v. Flags are set as if they had been given, so that they check
// the text and it does not matter to a command where a setting came from.
func (a *app) configure(cmd *cobra.Command) error {
	if cmd.Hidden || cmd.HasParent() && cmd.Parent().Name() == "completion" {
		return nil // run by programs, which depend on no settings of the user
	}
	if err := refuseIdle(cmd); err != nil {
		return err
	}
	file, err := a.readFile(cmd)
	if err != nil {
		return err
	}
	keeps := topName(cmd) == "context" // the flags that are given, and no others
	if !keeps {
		if a.context, err = a.takeContext(cmd, file); err != nil {
			return err
		}
	}
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if isSetting(cmd, f) && !f.Changed && (!keeps || f.Name == "output" || f.Name == "context") {
			errs = append(errs, fill(f, file), a.context.fill(f))
		}
		errs = append(errs, a.v.BindPFlag(f.Name, f))
	})
	return errors.Join(append(errs, refuseFormat(cmd))...)
}

// isSetting reports whether a flag of cmd may also come from the environment and
// the file. What describes one request, such as the name of a task to submit, may
// not: RAFT_NODE_NAME, meant for the agent, would name every task that its tasks
// submit.
func isSetting(cmd *cobra.Command, f *pflag.Flag) bool {
	if f.Name == "config" || f.Name == "help" {
		return false
	}
	return cmd.InheritedFlags().Lookup(f.Name) == f || isDaemon(cmd)
}

func isDaemon(cmd *cobra.Command) bool {
	return cmd.Parent() == cmd.Root() && (cmd.Name() == "serve" || cmd.Name() == "agent")
}

// setting is a value in the file.
type setting struct {
	path   string
	node   *yaml.Node
	values []string
}

// fill sets a flag that was not given.
func fill(f *pflag.Flag, file map[string]setting) error {
	if text := os.Getenv(envName(f.Name)); text != "" {
		return set(f, envName(f.Name), func() error { return f.Value.Set(text) })
	}
	s, ok := file[f.Name]
	if !ok {
		return nil
	}
	place := fmt.Sprintf("%s:%d: %s", s.path, s.node.Line, f.Name)
	slice, isSlice := f.Value.(pflag.SliceValue)
	switch {
	case s.node.Kind == yaml.ScalarNode:
		return set(f, place, func() error { return f.Value.Set(s.values[0]) })
	case isSlice:
		return set(f, place, func() error { return slice.Replace(s.values) })
	case f.Value.Type() == "stringToString":
		return set(f, place, func() error { return f.Value.Set(strings.Join(s.values, ",")) })
	}
	return fmt.Errorf("%s: takes one value, not several", place)
}

func set(f *pflag.Flag, place string, assign func() error) error {
	if err := assign(); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	f.Changed = true
	return nil
}

func envName(flag string) string {
	return "RAFT_NODE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readFile reads the file of --config, if one is named.
func (a *app) readFile(cmd *cobra.Command) (map[string]setting, error) {
	path, err := cmd.Flags().GetString("config")
	if err != nil {
		return nil, err
	}
	if path == "" {
		path = os.Getenv(envName("config"))
	}
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	return parseFile(path, text, knownKeys(cmd.Root()))
}

// parseFile reads the settings and reports every key that no command knows.
func parseFile(path string, text []byte, known []string) (map[string]setting, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(doc.Content) == 0 {
		return nil, nil // empty
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: give one setting per line, such as 'server: %s'", path, defaultServer)
	}
	settings := make(map[string]setting)
	var errs []error
	for i := 0; i < len(top.Content); i += 2 {
		key, node := top.Content[i], top.Content[i+1]
		place := fmt.Sprintf("%s:%d", path, key.Line)
		values, err := settingValues(node)
		_, twice := settings[key.Value]
		switch {
		case !slices.Contains(known, key.Value):
			errs = append(errs, fmt.Errorf("%s: unknown key %q: known are %s", place, key.Value, strings.Join(known, ", ")))
		case twice:
			errs = append(errs, fmt.Errorf("%s: %s is given twice", place, key.Value))
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %s: %w", place, key.Value, err))
		case len(values) > 0 || node.Kind != yaml.ScalarNode:
			settings[key.Value] = setting{path: path, node: node, values: values}
		}
	}
	return settings, errors.Join(errs...)
}

// settingValues is the text of a value, of a list's items, or of the pairs k=v of
// a mapping; nothing for null.
func settingValues(node *yaml.Node) (values []string, err error) {
	for i, n := range node.Content {
		if n.Kind != yaml.ScalarNode {
			return nil, errors.New("is nested too deep: give text, a list of texts, or pairs of texts")
		}
		if node.Kind == yaml.MappingNode && i%2 == 1 {
			values[len(values)-1] += "=" + n.Value
		} else {
			values = append(values, n.Value)
		}
	}
	if node.Kind == yaml.ScalarNode && node.Tag != "!!null" {
		values = []string{node.Value}
	}
	if node.Kind == yaml.AliasNode {
		return nil, errors.New("is an alias: write the value itself")
	}
	return values, nil
}

// knownKeys are the settings of all commands: one file may serve several.
func knownKeys(root *cobra.Command) []string {
	known := make(map[string]bool)
	add := func(f *pflag.Flag) { known[f.Name] = f.Name != "config" && f.Name != "help" }
	root.PersistentFlags().VisitAll(add)
	for _, c := range root.Commands() {
		if isDaemon(c) {
			c.Flags().VisitAll(add)
		}
	}
	maps.DeleteFunc(known, func(_ string, ok bool) bool { return !ok })
	return slices.Sorted(maps.Keys(known))
}

// client makes a client by the global settings, with the patience of a person who
// waits. More options may change that.
func (a *app) client(more ...client.Option) (*client.Client, error) {
	timeout := a.v.GetDuration("call-timeout")
	if timeout <= 0 {
		return nil, usageErrorf("--call-timeout %v: give more than 0", timeout)
	}
	opts := []client.Option{client.WithCallTimeout(timeout), client.WithPatience(patience)}
	if a.context != nil && a.context.Token != "" && a.v.GetString("token-file") == "" {
		opts = append(opts, client.WithToken(a.context.Token))
	}
	if path := a.v.GetString("token-file"); path != "" {
		token, err := readTokenFile(path)
		if err != nil {
			return nil, err
		}
		opts = append(opts, client.WithToken(token))
	}
	config, err := tlsConfig(a.v.GetString("tls-ca"), a.v.GetString("tls-client-cert"), a.v.GetString("tls-client-key"))
	if err != nil {
		return nil, err
	}
	if config != nil {
		opts = append(opts, client.WithTLS(config))
	}
	a.noteContext()
	c, err := client.New(list(a.v, "server"), append(opts, more...)...)
	if err != nil {
		return nil, fmt.Errorf("--server, --token-file: %w", err)
	}
	return c, nil
}

// readTokenFile reads the secret of the members.
func readTokenFile(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("--token-file %s: is empty: it must hold the secret that the members were started with", path)
	}
	return token, nil
}

// tlsConfig is the TLS configuration of a caller that trusts the authorities in a
// file and no others, and shows a certificate; nil if neither is given.
func tlsConfig(ca, cert, key string) (*tls.Config, error) {
	if ca == "" && cert == "" && key == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--tls-ca %s: holds no certificate: give one or more in PEM", ca)
		}
	}
	if cert == "" && key == "" {
		return config, nil
	}
	if cert == "" || key == "" {
		return nil, errors.New("--tls-client-cert, --tls-client-key: one is given without the other: give both, or none")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--tls-client-cert %s, --tls-client-key %s: %w: give a certificate chain and its key in PEM", cert, key, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}
