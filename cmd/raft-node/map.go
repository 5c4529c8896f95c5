package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// mapLineMaxBytes is as long as a word of a command may be.
const mapLineMaxBytes = 64 << 10

const mapLong = `Submits a task for each line of a file or of standard input, up to 100,000, waits for
all of them and prints their outputs (or what a function returned) in the order of the
lines. Empty lines are left out.

The line stands for {} in the command, --env and --name; without {} in the command it
is put at its end. No shell sees it. It is in the variable TASK_ARRAY_ITEM too, and its
number from 0 in TASK_ARRAY_INDEX. A function gets the line as its payload: as it is if
it is JSON, else as a text in JSON.

The exit code is 0 if all completed, 1 if not, and 130 after Ctrl-C, which ends the
waiting and not the tasks: it says how to follow or to cancel them. The same command
with the same --request-id goes on where it was cut off; lines may be added to the end
by then, and one that has changed is refused.

Outputs are the last 64 KiB of each task. With -o jsonl each task is a line, in order.`

func newMapCommand(a *app) *cobra.Command {
	s := &submission{}
	var file string
	var jobs int32
	cmd := &cobra.Command{
		Use: "map [flags] -- COMMAND [ARGUMENT…]", Short: "Run a command for each line of a file", Long: mapLong,
		Example: `  raft-node map --file urls.txt -- curl -sI {}
  ls *.png | raft-node map --cpu 1 --jobs 8 -- convert {} -resize 640x {}.small.png
  seq 100 | raft-node map --function square -o jsonl`,
	}
	f := cmd.Flags()
	s.addFlags(f)
	f.StringVar(&file, "file", "-", "file with the lines; - for standard input")
	f.Int32VarP(&jobs, "jobs", "j", 0, "how many of the tasks run at once at most, 1 to 10,000 (default: as many as there is room for)")
	must(cmd.MarkFlagFilename("file"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s.given = func(flag string) bool { f := cmd.Flags().Lookup(flag); return f != nil && f.Changed }
		return a.mapLines(cmd, s, file, jobs, args)
	}
	return cmd
}

func (a *app) mapLines(cmd *cobra.Command, s *submission, file string, jobs int32, args []string) error {
	req, err := s.request(args, strings.NewReader(""))
	if err != nil {
		return err
	}
	if err := errors.Join(s.checkArray("map"), checkJobs(s, jobs)); err != nil {
		return usageErrorf("%w", err)
	}
	key, err := manyKey(s.requestID)
	if err != nil {
		return err
	}
	lines, err := a.readLines(file)
	if err != nil {
		return usageErrorf("--file %s: %w", file, err)
	}
	common := req.GetTask()
	a.fillQueue(common)
	if jobs > 0 {
		common.ConcurrencyKey, common.MaxConcurrency = key, jobs
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	m := many{key: key, label: arrayLabel + "=" + key, count: len(lines), task: func(i int) (*v1.Task, string) {
		return arrayTask(common, key, i, &lines[i].text), fmt.Sprintf("line %d, %q", lines[i].number, short(lines[i].text, 40))
	}}
	ended := &v1.ListTasksResponse{}
	err = a.followMany(cmd.Context(), c, m, func(t *v1.Task) error { return a.printMapped(t, ended) })
	if f := a.format(); f == formatJSON || f == formatYAML {
		return errors.Join(a.print(ended, nil), err)
	}
	return err
}

// printMapped prints what a task has to show, or keeps it for a document that holds all.
func (a *app) printMapped(t *v1.Task, ended *v1.ListTasksResponse) error {
	switch a.format() {
	case formatJSON, formatYAML:
		ended.Tasks = append(ended.Tasks, t)
		return nil
	case formatLines, formatName:
		return a.print(t, nil)
	}
	return a.printOutput(t)
}

func checkJobs(s *submission, jobs int32) error {
	switch {
	case s.given("jobs") && s.given("concurrency-key"):
		return errors.New("--jobs and --concurrency-key exclude each other: give one of them")
	case s.given("jobs") && (jobs < 1 || jobs > 10_000):
		return fmt.Errorf("--jobs %d: give 1 to 10000", jobs)
	}
	return nil
}

// mapLine is a line that is not empty.
type mapLine struct {
	text   string
	number int // from 1, empty ones counted
}

// readLines reads the lines that are not empty.
func (a *app) readLines(path string) ([]mapLine, error) {
	in := a.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // only read
		in = file
	}
	return splitLines(in)
}

func splitLines(in io.Reader) ([]mapLine, error) {
	var lines []mapLine
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, mapLineMaxBytes)
	number := 1
	for ; scan.Scan(); number++ {
		if line := bytes.TrimSuffix(scan.Bytes(), []byte("\r")); len(line) > 0 {
			if !utf8.Valid(line) {
				return nil, fmt.Errorf("line %d is no valid UTF-8, nothing was submitted: convert it, for example by iconv", number)
			}
			lines = append(lines, mapLine{string(line), number})
		}
		if len(lines) > arrayMax {
			return nil, fmt.Errorf("has more than %d lines: divide it", arrayMax)
		}
	}
	switch err := scan.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d has more than %d bytes: write it to a file, and give its address", number, mapLineMaxBytes)
	case err != nil:
		return nil, err
	case len(lines) == 0:
		return nil, errors.New("there is no line in it: give one for each task")
	}
	return lines, nil
}
