package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// TestDocs compares docs/cli.md and the manual pages under docs/man with the commands
// that they describe. 'make docs' writes them anew.
func TestDocs(t *testing.T) {
	root := newRoot(&app{})
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true
	want := map[string][]byte{"cli.md": commandsPage(root)}
	for _, c := range available(root) {
		c.Long = keepIndented(c.Long)
	}
	manualPages(t, root, want)
	docs := filepath.Join("..", "..", "docs")
	old, err := filepath.Glob(filepath.Join(docs, "man", "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range old {
		name := filepath.Join("man", filepath.Base(path))
		if want[name] != nil {
			continue
		}
		if !*rewrite {
			t.Errorf("docs/%s describes no command: run 'make docs'", name)
		} else if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range want {
		path := filepath.Join(docs, name)
		got, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		switch {
		case bytes.Equal(got, text):
		case !*rewrite:
			t.Errorf("docs/%s is not what the commands say now: run 'make docs'", name)
		default:
			must(os.MkdirAll(filepath.Dir(path), 0o755)) //nolint:gosec // for everybody
			must(os.WriteFile(path, text, 0o644))        //nolint:gosec // for everybody
		}
	}
}

// manualPages adds a page for each command.
func manualPages(t *testing.T, root *cobra.Command, pages map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	never := time.Unix(0, 0).UTC() // pages change with the commands only
	header := &doc.GenManHeader{Section: "1", Date: &never, Source: "raft-node", Manual: "Raft control plane"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(files) == 0 {
		t.Fatal("no pages", err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.Replace(text, []byte(`"Jan 1970"`), []byte(`""`), 1)
		if filepath.Base(path) == "raft-node.1" {
			text = append(text, "\n.SH EXIT STATUS\n.nf\n"+strings.ReplaceAll(exitCodesLong, "'", `\(aq`)+"\n.fi\n"...)
		}
		pages[filepath.Join("man", filepath.Base(path))] = text
	}
}

// keepIndented marks indented lines as such: in Markdown it takes four spaces, and an
// empty line before them.
func keepIndented(text string) string {
	var out []string
	inside := false
	for line := range strings.SplitSeq(text, "\n") {
		indented := strings.HasPrefix(line, "  ")
		if indented != inside && line != "" {
			out = append(out, "")
			inside = indented
		}
		if indented {
			line = "    " + line
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

const commandsHead = `# The command line

<!-- Written by 'make docs' from the commands themselves: change those. -->

Every command tells this with ` + "`--help`" + `; ` + "`man raft-node-task-get`" + ` does after ` + "`make install`" + `. Completion for a shell:
` + "`raft-node completion bash|zsh|fish|powershell`" + `.

`

// commandsPage describes all commands on one page.
func commandsPage(root *cobra.Command) []byte {
	var b bytes.Buffer
	b.WriteString(commandsHead)
	commands := available(root)
	for _, c := range commands {
		fmt.Fprintf(&b, "%s- [%s](#%s): %s\n", strings.Repeat("  ", strings.Count(c.CommandPath(), " ")), c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
	}
	fmt.Fprintf(&b, "\n## Exit codes\n\n```\n%s\n```\n", exitCodesLong)
	for _, c := range commands {
		commandSection(&b, c)
	}
	return b.Bytes()
}

// available are a command and those below it that people call.
func available(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			all = append(all, available(sub)...)
		}
	}
	return all
}

func commandSection(b *bytes.Buffer, c *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s.\n", c.CommandPath(), c.Short)
	block := func(text string) {
		if text = strings.TrimRight(text, "\n "); text != "" {
			fmt.Fprintf(b, "\n```\n%s\n```\n", text)
		}
	}
	block(c.Long)
	if c.Runnable() && c.HasParent() {
		block(c.UseLine())
	}
	block(c.Example)
	block(c.NonInheritedFlags().FlagUsages())
	if idle := idleGlobals[c.Name()]; idle != nil && c.Parent() == c.Root() {
		fmt.Fprintf(b, "\nOf the global flags it has none of %s.\n", "`--"+strings.Join(slices.Sorted(slices.Values(idle)), "`, `--")+"`")
	}
}
