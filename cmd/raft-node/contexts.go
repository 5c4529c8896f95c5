package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// contextFile is what a user's file of contexts holds.
type contextFile struct {
	Current  string                   `yaml:"current,omitempty"`
	Contexts map[string]*savedContext `yaml:"contexts"`

	path string
}

// savedContext is how to reach one control plane.
type savedContext struct {
	Servers       []string `yaml:"server" json:"server"`
	Token         string   `yaml:"token,omitempty" json:"-"`
	TokenFile     string   `yaml:"token-file,omitempty" json:"tokenFile,omitempty"`
	TLSCA         string   `yaml:"tls-ca,omitempty" json:"tlsCa,omitempty"`
	TLSClientCert string   `yaml:"tls-client-cert,omitempty" json:"tlsClientCert,omitempty"`
	TLSClientKey  string   `yaml:"tls-client-key,omitempty" json:"tlsClientKey,omitempty"`
	Queue         string   `yaml:"queue,omitempty" json:"queue,omitempty"`
}

// settings are the values of global flags that a context gives.
func (s *savedContext) settings() map[string][]string {
	out := map[string][]string{"server": s.Servers}
	for flag, value := range map[string]string{"token-file": s.TokenFile, "tls-ca": s.TLSCA, "tls-client-cert": s.TLSClientCert, "tls-client-key": s.TLSClientKey} {
		if value != "" {
			out[flag] = []string{value}
		}
	}
	return out
}

// contextName is what names of contexts look like.
var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// contextPath is where users keep what programs are told once.
func contextPath() (string, error) {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "raft-node", "contexts.yaml"), nil
}

// readContexts reads the file; an empty one if there is none.
func readContexts(warn io.Writer) (*contextFile, error) {
	f := &contextFile{Contexts: map[string]*savedContext{}}
	var err error
	if f.path, err = contextPath(); err != nil {
		return f, nil //nolint:nilerr // without a home directory there are no contexts
	}
	text, err := os.ReadFile(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return nil, fmt.Errorf("read the contexts: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(f); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	for name, c := range f.Contexts {
		if c == nil || len(c.Servers) == 0 {
			return nil, fmt.Errorf("%s: context %s has no server: give one, or take the context out", f.path, name)
		}
	}
	return f, f.checkMode(warn)
}

// checkMode refuses a file with secrets that others can read, and warns of one
// without.
func (f *contextFile) checkMode(warn io.Writer) error {
	info, err := os.Stat(f.path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	what := fmt.Sprintf("%s can be read or changed by others (mode %04o): run chmod 600 %s", f.path, info.Mode().Perm(), shellWord(f.path))
	for _, c := range f.Contexts {
		if c.Token != "" {
			return fmt.Errorf("%s; it holds a token, which may be known to them", what)
		}
	}
	fmt.Fprintln(warn, "raft-node: "+what)
	return nil
}

// write replaces the file, which is whole at any moment.
func (f *contextFile) write() error {
	if f.path == "" {
		return errors.New("there is no place for contexts: set HOME or XDG_CONFIG_HOME")
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(f), e.Close()); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.path), "contexts-*.tmp") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // after the rename it is gone
	_, err = tmp.Write(b.Bytes())
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), f.path)
}

// find returns a context by its name.
func (f *contextFile) find(name string) (*savedContext, error) {
	c := f.Contexts[name]
	if c == nil {
		known := "there are none in " + f.path + ", 'raft-node context add' makes one"
		if len(f.Contexts) > 0 {
			known = "known are " + strings.Join(f.names(), ", ")
		}
		return nil, usageErrorf("there is no context %q: %s", name, known)
	}
	return c, nil
}

func (f *contextFile) names() []string { return slices.Sorted(maps.Keys(f.Contexts)) }

// usedContext is the context from which settings come.
type usedContext struct {
	name, path string
	*savedContext
}

// takeContext finds the context for a command; nil if none is used. One that is
// only the current one is for commands of people, and is left aside when they name
// other servers: its token is not for those.
func (a *app) takeContext(cmd *cobra.Command, file map[string]setting) (*usedContext, error) {
	if f := cmd.InheritedFlags().Lookup("context"); f == nil || slices.Contains(idleGlobals[topName(cmd)], "context") {
		return nil, nil
	}
	given := func(flag string) string {
		f := cmd.Flag(flag)
		switch {
		case f.Changed:
			return f.Value.String()
		case os.Getenv(envName(flag)) != "":
			return os.Getenv(envName(flag))
		}
		return strings.Join(file[flag].values, ",")
	}
	name := given("context")
	if name == "" && (given("server") != "" || isDaemon(cmd) || topName(cmd) == "bench") {
		return nil, nil
	}
	f, err := readContexts(a.err)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = f.Current
	}
	if name == "" {
		return nil, nil
	}
	c, err := f.find(name)
	if err != nil {
		return nil, err
	}
	return &usedContext{name, f.path, c}, nil
}

// topName is the name of the command below the root that cmd belongs to.
func topName(cmd *cobra.Command) string {
	for cmd.HasParent() && cmd.Parent() != cmd.Root() {
		cmd = cmd.Parent()
	}
	return cmd.Name()
}

// fill sets a flag from the context.
func (u *usedContext) fill(f *pflag.Flag) error {
	if u == nil {
		return nil
	}
	values, ok := u.settings()[f.Name]
	if !ok || f.Changed {
		return nil
	}
	return set(f, fmt.Sprintf("%s: context %s: %s", u.path, u.name, f.Name), func() error {
		if s, ok := f.Value.(pflag.SliceValue); ok {
			return s.Replace(values)
		}
		return f.Value.Set(values[0])
	})
}

// noteContext says to people which control plane a command is for.
func (a *app) noteContext() {
	if a.context == nil || a.noted || !isTerminal(a.err) {
		return
	}
	a.noted = true
	text := fmt.Sprintf("raft-node: context %s (%s)", a.context.name, strings.Join(list(a.v, "server"), ", "))
	if a.colours(a.err) {
		text = dim + text + reset
	}
	fmt.Fprintln(a.err, text)
}

// fillQueue gives a task that names no queue the one of the context.
func (a *app) fillQueue(t *v1.Task) {
	if a.context != nil && t.GetQueue() == "" {
		t.Queue = a.context.Queue
	}
}

// contextHint says in an error whose settings have failed.
func (a *app) contextHint() string {
	if a.context == nil {
		return ""
	}
	return fmt.Sprintf(" [context %s of %s]", a.context.name, a.context.path)
}
