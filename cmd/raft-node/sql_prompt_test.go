package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"golang.org/x/term"
	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// typed is what a user types: a line each, "^C" to give one up.
type typed struct {
	lines   []string
	prompts []string
}

func (l *typed) readLine(prompt string) (string, error) {
	l.prompts = append(l.prompts, strings.TrimSpace(prompt))
	if len(l.lines) == 0 {
		return "", io.EOF
	}
	line := l.lines[0]
	l.lines = l.lines[1:]
	if strings.HasSuffix(line, "^C") {
		return "", errInterrupted
	}
	return line, nil
}

// session runs the prompt with what is typed at a member that answers each statement
// with itself.
func session(t *testing.T, mode string, lines ...string) (out, errs string, asked []*v1.QueryRequest, prompts []string) {
	t.Helper()
	m := (&member{query: func(r *v1.QueryRequest) (*v1.QueryResponse, error) {
		asked = append(asked, r)
		switch {
		case strings.Contains(r.GetSql(), "bad"):
			return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("sql: no such column: bad"))
		case r.GetSql() == sqlSchema && r.GetParams()[0].GetStringValue() == "none":
			return &v1.QueryResponse{Columns: []string{"sql"}}, nil
		case r.GetSql() == sqlSchema:
			return answerOf("sql", "CREATE TABLE a (b)"), nil
		}
		return answerOf("you, said", strings.Join(strings.Fields(r.GetSql()), " ")), nil
	}}).start(t)
	var o, e bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &o, err: &e}
	newRoot(a)
	a.v.Set("server", m.url)
	a.v.Set("call-timeout", "10s")
	c, err := a.client()
	if err != nil {
		t.Fatal(err)
	}
	l := &typed{lines: lines}
	p := sqlPrompt{app: a, client: c, lines: l, mode: mode}
	if err := p.run(t.Context()); err != nil {
		t.Error(err)
	}
	return o.String(), e.String(), asked, l.prompts
}

func answerOf(column, value string) *v1.QueryResponse {
	return &v1.QueryResponse{Columns: []string{column, "n"}, Rows: []*structpb.ListValue{{Values: []*structpb.Value{structpb.NewStringValue(value), structpb.NewNullValue()}}}}
}

func statementsOf(asked []*v1.QueryRequest) (all []string) {
	for _, r := range asked {
		all = append(all, strings.Join(strings.Fields(r.GetSql()), " "))
	}
	return all
}

func TestPromptReadsStatements(t *testing.T) {
	out, errs, asked, prompts := session(t, "table",
		"SELECT 1;", "SELECT", "  2", "; SELECT 3; SELECT", "4;", "", "-- only a comment", "SELECT ';' -- ;", ";", "SELECT gone ^C", "SELECT gone", "^C", "SELECT bad;", "SELECT 5;")
	want := []string{"SELECT 1;", "SELECT 2 ;", "SELECT 3;", "SELECT 4;", "SELECT ';' -- ; ;", "SELECT bad;", "SELECT 5;"}
	if got := statementsOf(asked); !slices.Equal(got, want) {
		t.Errorf("asked %q\nwant %q", got, want)
	}
	if got := strings.Join(prompts, " "); got != "sql> sql> ...> ...> ...> sql> sql> sql> ...> sql> sql> ...> sql> sql> sql>" {
		t.Errorf("prompts %s", got)
	}
	if !strings.Contains(out, "SELECT 2 ;  NULL\n") || errs != "error: sql: no such column: bad\n" {
		t.Errorf("out %s\nerr %s", out, errs)
	}
}

func TestPromptCommands(t *testing.T) {
	out, errs, asked, _ := session(t, "table",
		".mode", ".mode csv", "SELECT 'a', \"b\";", ".mode json", "SELECT 2;", ".mode xml", ".mode csv json", ".consistency", ".consistency stale", "SELECT 3;",
		".consistency never", ".tables", ".tables x", ".schema a", ".schema none", ".schema", ".help", ".nothing", "SELECT", ".help", ";", ".quit", "SELECT 'not reached';")
	for _, want := range []string{"\ntable\n", "\"you, said\",n\n\"SELECT 'a', \"\"b\"\";\",\n", `"SELECT 2;"`, "\nlinearizable\n", "CREATE TABLE a (b);\n", ".schema [NAME]"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output has no %q:\n%s", want, out)
		}
	}
	wantErrs := "error: give one of table, json, jsonl, yaml, csv\nerror: .mode has too many arguments: see .help\nerror: give one of linearizable, stale\n" +
		"error: .tables has too many arguments: see .help\nerror: there is no table or view none: see .tables\nerror: there is no .nothing: see .help\n"
	if errs != wantErrs {
		t.Errorf("errors:\n%s\nwant\n%s", errs, wantErrs)
	}
	got := statementsOf(asked)
	if len(got) != 8 || got[7] != "SELECT .help ;" { // within a statement a dot begins no command
		t.Errorf("asked %q", got)
	}
	if asked[1].GetConsistency() != v1.Consistency_CONSISTENCY_LINEARIZABLE && asked[1].GetConsistency() != v1.Consistency_CONSISTENCY_UNSPECIFIED || asked[2].GetConsistency() != v1.Consistency_CONSISTENCY_STALE {
		t.Errorf("consistency %v, then %v", asked[1].GetConsistency(), asked[2].GetConsistency())
	}
}

func TestPromptDropsWhatIsTooLong(t *testing.T) {
	_, errs, asked, _ := session(t, "table", "SELECT '"+strings.Repeat("x", statementMaxBytes), "SELECT 1;")
	if !strings.Contains(errs, "it was dropped") || len(asked) != 1 {
		t.Errorf("%d asked, %.200s", len(asked), errs)
	}
}

func TestPromptNeedsATerminal(t *testing.T) {
	cliWith(context.Background(), "SELECT 1;\n", "sql").expect(t, exitUsage, nil, []string{"standard input is no terminal", "'-'"})
}

func TestSplitStatements(t *testing.T) {
	for _, c := range []struct{ text, statements, rest string }{
		{"", "", ""},
		{" \n-- c\n/* d ; */ ; ;\n", "", ""},
		{"-- c\n a;", "a;", ""},
		{"a; b", "a;", "b"},
		{"a;b;c;", "a;|b;|c;", ""},
		{"'a;''b;' ; \"c;\"\"d\" ; `e;` ; [f;] ;", "'a;''b;' ;|\"c;\"\"d\" ;|`e;` ;|[f;] ;", ""},
		{"a -- b;\n;", "a -- b;\n;", ""},
		{"a /* b; */ ;", "a /* b; */ ;", ""},
		{"/* b;", "", "/* b;"},
		{"/* b */", "", ""},
		{"/*/", "", "/*/"},
		{"'a;", "", "'a;"},
		{"a - b / c;", "a - b / c;", ""},
	} {
		statements, rest := splitStatements(c.text)
		if got := strings.Join(statements, "|"); got != c.statements || rest != c.rest {
			t.Errorf("%q: %q and %q, want %q and %q", c.text, got, rest, c.statements, c.rest)
		}
	}
}

// edit reads lines of keys as the terminal does.
func edit(t *testing.T, h *history, pressed ...string) (lines []string) {
	t.Helper()
	var in []io.Reader
	for _, p := range pressed {
		in = append(in, strings.NewReader(p))
	}
	k := &keys{in: io.MultiReader(in...)}
	e := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{k, io.Discard}, "> ")
	e.History = h
	for {
		line, err := e.ReadLine()
		if k.interrupted {
			k.interrupted = false
			line = "^C" + line
		}
		if err != nil {
			return append(lines, err.Error())
		}
		lines = append(lines, line)
	}
}

func TestKeys(t *testing.T) {
	const up, left = "\x1b[A", "\x1b[D"
	for pressed, want := range map[string]string{
		"a\rb\r":                          "a|b|EOF",
		"abc\x03d\r":                      "^C|d|EOF",
		"abc" + left + left + "\x03d\r":   "^C|d|EOF",
		"\x03\x03a\r":                     "^C|^C|a|EOF",
		"a\r\x04b\r":                      "a|EOF",
		"one\rtwo\r" + up + up + "!\r":    "one|two|one!|EOF",
		"one\r" + up + "\x03" + up + "\r": "one|^C|one|EOF",
		"ab" + left + "X\r":               "aXb|EOF",
	} {
		if got := strings.Join(edit(t, &history{}, pressed), "|"); got != want {
			t.Errorf("%q: %s, want %s", pressed, got, want)
		}
		if got := strings.Join(edit(t, &history{}, strings.Split(pressed, "")...), "|"); got != want && !strings.Contains(pressed, "\x1b") {
			t.Errorf("%q, key by key: %s, want %s", pressed, got, want)
		}
	}
}

func TestHistoryIsKept(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	var warned bytes.Buffer
	h := openHistory(&warned)
	for _, line := range []string{"a", "b", "b", " ", "c"} {
		h.Add(line)
	}
	h.close()
	path := filepath.Join(state, "raft-node", "sql_history")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	h = openHistory(&warned)
	if h.Len() != 3 || h.At(0) != "c" || h.At(2) != "a" {
		t.Errorf("history %q", h.lines)
	}
	for i := range historyFileLines {
		h.Add(fmt.Sprint("line ", i))
	}
	h.close()
	h = openHistory(&warned)
	if h.Len() != historyLines || h.At(0) != fmt.Sprint("line ", historyFileLines-1) {
		t.Errorf("%d lines, the last is %q", h.Len(), h.At(0))
	}
	h.close()
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "\n") != historyLines || warned.Len() > 0 {
		t.Errorf("the file has %d lines, %v; %s", strings.Count(string(text), "\n"), err, &warned)
	}
}

func TestHistoryWithoutAFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_STATE_HOME", dir)
	var warned bytes.Buffer
	h := openHistory(&warned)
	h.Add("a")
	if h.Len() != 1 || !strings.Contains(warned.String(), "will not be remembered") {
		t.Errorf("%q, %s", h.lines, &warned)
	}
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", "/home/someone")
	if path, err := historyPath(); err != nil || path != "/home/someone/.local/state/raft-node/sql_history" {
		t.Errorf("%s, %v", path, err)
	}
}
