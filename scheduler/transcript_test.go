package scheduler

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what the commands answer into testdata/*.txt")

// TestTranscripts runs the transcripts in testdata: commands, each with what it
// answers below "----". After each command the copy in memory is compared with the
// state, and the state is checked (see check). Run with -rewrite to record, then
// read what changed.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) { runTranscript(t, path) })
	}
}

func runTranscript(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(t)
	var out bytes.Buffer
	if *rewrite {
		defer func() {
			if err := os.WriteFile(path, append(bytes.TrimRight(out.Bytes(), "\n"), '\n'), 0o644); err != nil {
				t.Error(err)
			}
		}()
	}
	for _, b := range parseTranscript(string(text)) {
		out.WriteString(b.comment)
		if b.input == "" {
			continue
		}
		answer := s.run(fmt.Sprintf("%s:%d", path, b.line), b.input)
		if answer != b.want && !*rewrite {
			t.Errorf("%s:%d: %s\nanswers:\n%swant:\n%s", path, b.line, b.input, answer, b.want)
		}
		fmt.Fprintf(&out, "%s\n----\n%s\n", b.input, answer)
	}
}

// block is a command with what it should answer, after blank lines and comments.
type block struct {
	comment, input, want string
	line                 int
}

func parseTranscript(text string) (blocks []block) {
	var b block
	answering := false
	for i, line := range strings.SplitAfter(strings.TrimRight(text, "\n")+"\n\n", "\n") {
		bare := strings.TrimSpace(line)
		switch {
		case answering && bare == "":
			blocks = append(blocks, b)
			b, answering = block{}, false
		case answering:
			b.want += line
		case bare == "----":
			answering = true
			b.input = strings.TrimSuffix(b.input, "\n")
		case b.input == "" && (bare == "" || strings.HasPrefix(bare, "#")):
			b.comment += line
		default:
			if b.input == "" {
				b.line = i + 1
			}
			b.input += line
		}
	}
	return append(blocks, block{comment: b.comment})
}
