package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/service"
)

const (
	// jobFileMaxBytes bounds what is read of a file.
	jobFileMaxBytes = 64 << 20
	// jobMistakesMax is how many mistakes are told at once.
	jobMistakesMax = 50
)

// job is a task of a file.
type job struct {
	task *v1.Task
	// place is where it begins, as file:line.
	place string
}

// mistake is what is wrong at a line of a file.
type mistake struct {
	path  string
	line  int
	field string
	text  string
}

// String writes a mistake as compilers do.
func (m mistake) String() string {
	if m.field == "" {
		return fmt.Sprintf("%s:%d: %s", m.path, m.line, m.text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", m.path, m.line, m.field, m.text)
}

// readJobFile reads the tasks of a file, "-" for standard input. It returns all
// mistakes at once.
func (a *app) readJobFile(path string) ([]job, error) {
	in := a.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("--file: %w", err)
		}
		defer file.Close() //nolint:errcheck // only read
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, jobFileMaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("--file %s: %w", path, err)
	}
	if len(text) > jobFileMaxBytes {
		return nil, fmt.Errorf("--file %s: has more than %d MiB: divide it", path, jobFileMaxBytes>>20)
	}
	jobs, mistakes := parseJobs(path, text)
	if len(mistakes) > 0 {
		return nil, errors.New(mistakesText(mistakes))
	}
	return jobs, nil
}

func mistakesText(mistakes []mistake) string {
	var lines []string
	for _, m := range mistakes[:min(len(mistakes), jobMistakesMax)] {
		lines = append(lines, m.String())
	}
	if more := len(mistakes) - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d mistakes more", more))
	}
	return strings.Join(lines, "\n") + "\nnothing was submitted: 'raft-node task schema' tells what a file may hold"
}

// parseJobs reads documents of YAML, or of JSON, each of which is a task.
func parseJobs(path string, text []byte) (jobs []job, mistakes []mistake) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	seen := map[string]string{}
	for {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			mistakes = append(mistakes, syntaxMistake(path, err))
			break // what follows cannot be told apart
		}
		if empty := len(doc.Content) == 0 || doc.Content[0].Tag == "!!null"; empty {
			continue
		}
		j, wrong := parseJob(path, doc.Content[0])
		if id := j.task.GetId(); id != "" && seen[id] != "" {
			wrong = append(wrong, mistake{path, doc.Content[0].Line, "id", fmt.Sprintf("%q is that of the task at %s too: give each its own, or leave it out", id, seen[id])})
		} else {
			seen[id] = j.place
		}
		jobs, mistakes = append(jobs, j), append(mistakes, wrong...)
	}
	if len(jobs) == 0 && len(mistakes) == 0 {
		mistakes = []mistake{{path, 1, "", "there is no task in it: give one, such as 'exec: {command: [echo, hello]}'"}}
	}
	return jobs, mistakes
}

// yamlLine is where yaml.v3 says that it stopped.
var yamlLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)

func syntaxMistake(path string, err error) mistake {
	text, line := err.Error(), 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	return mistake{path, line, "", "cannot be read as YAML: " + text + ": check indentation, quotes and brackets"}
}

// parseJob reads one task and checks it as a member would.
func parseJob(path string, n *yaml.Node) (job, []mistake) {
	t := &v1.Task{}
	r := &jobReader{path: path, lines: map[string]int{}}
	r.message(n, t.ProtoReflect(), "")
	if len(r.mistakes) == 0 {
		violations, err := service.CheckTask(t)
		if err != nil {
			r.mistakes = append(r.mistakes, mistake{path, n.Line, "", err.Error()})
		}
		for _, v := range violations {
			r.mistakes = append(r.mistakes, mistake{path, r.lineOf(v.GetField(), n.Line), v.GetField(), v.GetDescription()})
		}
		slices.SortStableFunc(r.mistakes, func(a, b mistake) int { return a.line - b.line })
	}
	return job{t, fmt.Sprintf("%s:%d", path, n.Line)}, r.mistakes
}

const schemaLong = `Prints the JSON Schema (2020-12) of a task in a file for 'submit --file', for editors
that check while one types; with the language server for YAML, at the top of a file:
  # yaml-language-server: $schema=task.schema.json

A file is YAML or JSON: one task, or several between lines of '---'. The fields are
those of the API, in the names that JSON has (snake_case will do), and the same as
'task get -o yaml' prints, without what is output only. On top of that:
  bytes      a number, or with a unit: memoryBytes: 16GiB
  durations  with units: timeout: 2h30m
  times      with a zone: earliestStartTime: 2030-01-31T06:00:00Z
  choices    the short word will do: spot: never
  payload    any value, which the function gets as JSON; !!binary for other bytes`

func newTaskSchemaCommand(a *app) *cobra.Command {
	return limitFormats(&cobra.Command{Use: "schema", Short: "Print the JSON Schema of files for 'submit --file'", Long: schemaLong, Args: cobra.NoArgs,
		Example: "  raft-node task schema >task.schema.json",
		RunE: func(*cobra.Command, []string) error {
			return a.printValue(taskSchema())
		}}, nameless)
}
