package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const sqlPromptHelp = `End a statement with ';', on as many lines as it takes. Ctrl-C clears it, or stops
the one that runs; Ctrl-D ends.

  .tables                           tables and views
  .schema [NAME]                    how they, or the one of that name, were created
  .mode [table|json|csv]            how answers are shown
  .consistency [linearizable|stale] how fresh they are
  .help                             this
  .quit                             end
`

var sqlModes = []string{formatTable, formatJSON, formatLines, formatYAML, formatCSV}

const (
	sqlTables = "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
	sqlSchema = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND (?1 = '' OR ?1 IN (name, tbl_name)) ORDER BY tbl_name, type <> 'table', name"
)

// lineReader reads what is typed, without the end of the line.
type lineReader interface {
	// readLine fails with io.EOF at the end, errInterrupted if the line was given up.
	readLine(prompt string) (string, error)
}

var errInterrupted = errors.New("interrupted")

// sqlPrompt asks in SQL until its user has had enough.
type sqlPrompt struct {
	app         *app
	client      *client.Client
	lines       lineReader
	interrupts  <-chan os.Signal // Ctrl-C while a statement runs
	mode        string
	consistency v1.Consistency
}

func (p *sqlPrompt) run(ctx context.Context) error {
	fmt.Fprintln(p.app.out, "Tables and views: .tables. Help: .help. A statement ends with ';'.")
	text := ""
	for {
		prompt := "sql> "
		if text != "" {
			prompt = "...> "
		}
		select {
		case <-p.interrupts: // it came too late for what it was to stop
		default:
		}
		line, err := p.lines.readLine(prompt)
		switch {
		case errors.Is(err, errInterrupted):
			text = ""
			continue
		case errors.Is(err, io.EOF):
			fmt.Fprintln(p.app.out)
			return nil
		case err != nil:
			return fmt.Errorf("read from the terminal: %w", err)
		}
		if command := strings.Fields(line); text == "" && len(command) > 0 && command[0][0] == '.' {
			if p.command(ctx, command) {
				return nil
			}
			continue
		}
		var statements []string
		statements, text = splitStatements(text + line + "\n")
		for _, s := range statements {
			p.answer(ctx, s)
		}
		if len(text) > statementMaxBytes {
			p.fail("a statement of more than %d bytes: it was dropped", statementMaxBytes)
			text = ""
		}
	}
}

func (p *sqlPrompt) fail(format string, args ...any) {
	fmt.Fprintf(p.app.err, "error: %s\n", multiline(fmt.Sprintf(format, args...)))
}

// answer runs a statement and shows what it gives.
func (p *sqlPrompt) answer(ctx context.Context, sql string) {
	res, err := p.ask(ctx, sql)
	if err == nil {
		err = p.app.showRows(res, p.mode)
	}
	if err != nil {
		p.fail("%s", p.app.explain(err))
	}
}

// ask runs a statement until Ctrl-C.
func (p *sqlPrompt) ask(ctx context.Context, sql string, params ...*structpb.Value) (*v1.QueryResponse, error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-p.interrupts:
			stop()
		case <-running.Done():
		}
	}()
	res, err := p.client.Query(running, &v1.QueryRequest{Sql: sql, Params: params, Consistency: p.consistency})
	if err != nil && running.Err() != nil && ctx.Err() == nil {
		err = errInterrupted
	}
	return res, err
}

// command runs a line that begins with a dot, and reports whether it ends the prompt.
func (p *sqlPrompt) command(ctx context.Context, words []string) (quit bool) {
	name, argument := words[0], ""
	if len(words) > 1 {
		argument = words[1]
	}
	switch {
	case len(words) > 2, len(words) > 1 && slices.Contains([]string{".tables", ".help", ".quit", ".exit"}, name):
		p.fail("%s has too many arguments: see .help", name)
	case name == ".quit", name == ".exit":
		return true
	case name == ".help":
		fmt.Fprint(p.app.out, sqlPromptHelp)
	case name == ".tables":
		p.answer(ctx, sqlTables)
	case name == ".schema":
		p.schema(ctx, argument)
	case name == ".mode":
		p.choose(&p.mode, argument, sqlModes)
	case name == ".consistency":
		p.chooseConsistency(argument)
	default:
		p.fail("there is no %s: see .help", name)
	}
	return false
}

func (p *sqlPrompt) schema(ctx context.Context, name string) {
	res, err := p.ask(ctx, sqlSchema, structpb.NewStringValue(name))
	if err != nil {
		p.fail("%s", p.app.explain(err))
		return
	}
	if len(res.GetRows()) == 0 {
		p.fail("there is no table or view %s: see .tables", name)
	}
	for _, r := range res.GetRows() {
		fmt.Fprintf(p.app.out, "%s;\n", multiline(cell(r.GetValues()[0])))
	}
}

// choose shows a setting, or sets it to one of the words allowed.
func (p *sqlPrompt) choose(setting *string, word string, allowed []string) {
	if word == "" {
		fmt.Fprintln(p.app.out, *setting)
	} else if slices.Contains(allowed, word) {
		*setting = word
	} else {
		p.fail("give one of %s", strings.Join(allowed, ", "))
	}
}

func (p *sqlPrompt) chooseConsistency(word string) {
	now := "linearizable"
	if p.consistency == v1.Consistency_CONSISTENCY_STALE {
		now = "stale"
	}
	p.choose(&now, word, []string{"linearizable", "stale"})
	p.consistency = consistencyOf(now)
}
