package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/tracing"
)

// payloadMaxBytes is one more than the contract allows, so that the server is the
// one to say that it is too much.
const payloadMaxBytes = 1<<20 + 1

const submitLong = `Stores a task and prints its id (with -o json, the task). The task is a command,
given after '--', or with --function a call of a function that a worker has
registered. No shell is involved: for one, give sh -c '…'.

With --wait it follows the task to its end, prints the end of its output (or what
the function returned) and exits with the exit code of the task's process: 0 when
the task completed, 1 when it failed without an exit code of its own, 130 when it
was cancelled. Ctrl-C ends the waiting, also with 130, and not the task.

--file submits what a file of YAML or JSON describes, one task or several between
lines of '---'; see 'raft-node task schema'. All of it is checked first, and nothing
is submitted if anything is wrong.

--array submits a task for each index, up to 100,000. The index stands in the
variable TASK_ARRAY_INDEX and for {} in the command, --env and --name; a function
gets it as its payload. The tasks have the labels array=KEY and array-index, by which
'task list' and 'task cancel' find them. With --wait it waits for all, and exits with
1 if one did not complete.

Submitting the same again with the same --id or --request-id gives the first task again;
anything else with it is refused. Of several tasks, those that were not submitted before
are added: those of a --file are told apart by their ids, or else by their place in it,
those of an --array by their index.`

// submission is what the flags of submit say.
type submission struct {
	task        v1.Task
	requestID   string
	labels, env []string
	workdir     string
	cpu, memory string
	disk        string
	gpus        int32
	custom      []string
	nodes       nodeChoice
	timeout     time.Duration
	course      courseFlags
	function    string
	payload     string
	file, array string
	follow      bool
	// given tells whether a flag was given at all.
	given func(flag string) bool
}

func newSubmitCommand(a *app) *cobra.Command {
	s := &submission{}
	cmd := &cobra.Command{
		Use: "submit [flags] -- COMMAND [ARGUMENT…]", Short: "Submit a task", Long: submitLong,
		Example: `  raft-node submit --name train --gpus 1 --memory 16GiB -- python3 train.py --lr 0.1
  raft-node submit --wait -- sh -c 'echo "{\"accuracy\": 0.97}"'
  raft-node submit --function resize --payload '{"width": 640}'
  raft-node submit --file job.yaml
  raft-node submit --array 0-99 --gpus 1 -- python3 train.py --seed {}`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.given = cmd.Flags().Changed
			return a.submitTask(cmd, s, args)
		},
	}
	f := cmd.Flags()
	s.addFlags(f)
	f.StringVar(&s.task.Id, "id", "", "id of the task (default: the server gives one)")
	f.StringVar(&s.payload, "payload", "", "argument for --function: JSON, or @FILE for the content of a file (@- for standard input)")
	f.StringVar(&s.file, "file", "", "submit the tasks that this file describes (- for standard input)")
	f.StringVar(&s.array, "array", "", "submit a task for each of these indexes, such as 0-99, 0-99:10 or 1,5,7")
	f.BoolVar(&s.follow, "wait", false, "wait for the end of the task, or of all")
	must(cmd.MarkFlagFilename("file", "yaml", "yml", "json"))
	return cmd
}

// addFlags adds the flags that describe one task as well as many.
func (s *submission) addFlags(f *pflag.FlagSet) {
	f.SetInterspersed(false) // what follows COMMAND is the command's
	f.StringVar(&s.task.Name, "name", "", "name for people, not unique")
	f.StringVar(&s.task.Queue, "queue", "", "queue to wait in (default \"default\")")
	f.Int32Var(&s.task.Priority, "priority", 0, "-1000 to 1000; higher runs first")
	f.StringArrayVar(&s.labels, "label", nil, "label, as key=value; may be repeated")
	f.StringArrayVar(&s.env, "env", nil, "variable for the command's environment, as KEY=VALUE; may be repeated")
	f.StringVar(&s.workdir, "workdir", "", "directory on the node to run in (default: a fresh one)")
	f.StringVar(&s.cpu, "cpu", "", "cores to reserve, such as 0.5")
	f.StringVar(&s.memory, "memory", "", "memory to reserve, such as 512MiB or 2GiB")
	f.StringVar(&s.disk, "disk", "", "disk to reserve, such as 100GiB")
	f.Int32Var(&s.gpus, "gpus", 0, "GPUs to reserve")
	f.StringArrayVar(&s.custom, "resource", nil, "anything else to reserve that nodes have, as NAME=COUNT, such as license=1; may be repeated")
	s.nodes.addFlags(f)
	f.DurationVar(&s.timeout, "timeout", 0, "longest run time of one attempt, such as 90s or 2h (default: none)")
	f.Int32Var(&s.task.MaxAttempts, "max-attempts", 1, "how often it may fail before it ends FAILED, 1 to 100")
	s.course.add(f, &s.task)
	f.StringVar(&s.requestID, "request-id", "", "key that makes it safe to submit again")
	f.StringVar(&s.function, "function", "", "function to call, instead of a command")
}

func (a *app) submitTask(cmd *cobra.Command, s *submission, args []string) error {
	switch {
	case s.given("file"):
		return a.submitFile(cmd, s, args)
	case s.given("array"): // also if it is empty, as from a variable that is not set
		return a.submitArray(cmd, s, args)
	}
	req, err := s.request(args, a.in)
	if err != nil {
		return err
	}
	a.fillQueue(req.GetTask())
	c, err := a.client()
	if err != nil {
		return err
	}
	res, err := c.SubmitTask(withSubmitter(cmd.Context()), req)
	if connect.CodeOf(err) == connect.CodeAlreadyExists {
		return errors.New(keyFlags(a.explain(err)))
	}
	if err != nil {
		return err
	}
	if s.follow {
		return a.follow(cmd.Context(), c, res.GetTask().GetId())
	}
	if a.forPrograms() {
		return a.print(res, nil)
	}
	return a.printNames([]proto.Message{res.GetTask()})
}

// withSubmitter returns a context with the span of what runs this command: another task, a
// job of a CI.
func withSubmitter(ctx context.Context) context.Context {
	return tracing.Extract(ctx, os.Getenv("TRACEPARENT"), os.Getenv("TRACESTATE"))
}

// request builds the request and reports every mistake in the flags at once.
func (s *submission) request(args []string, in io.Reader) (*v1.SubmitTaskRequest, error) {
	var errs []error
	keep := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	var err error
	s.task.Labels, err = parsePairs(s.labels)
	keep("label", err)
	s.task.Resources = &v1.Resources{Gpus: s.gpus}
	if s.cpu != "" {
		s.task.Resources.CpuMillis, err = parseCPU(s.cpu)
		keep("cpu", err)
	}
	if s.memory != "" {
		s.task.Resources.MemoryBytes, err = parseMemory(s.memory)
		keep("memory", err)
	}
	if s.disk != "" {
		s.task.Resources.DiskBytes, err = parseMemory(s.disk)
		keep("disk", err)
	}
	s.task.Resources.Custom, err = parseCounts(s.custom, 1)
	keep("resource", err)
	s.task.Constraints, err = s.nodes.constraints()
	errs = append(errs, err)
	if s.given("timeout") {
		s.task.Timeout = durationpb.New(s.timeout)
	}
	if s.given("max-attempts") && s.task.GetMaxAttempts() < 1 {
		keep("max-attempts", fmt.Errorf("%d: give 1 to 100", s.task.GetMaxAttempts()))
	}
	errs = append(errs, s.course.set(&s.task, s.given), s.setWork(args, in))
	if err := errors.Join(errs...); err != nil {
		return nil, usageErrorf("%w", err)
	}
	return &v1.SubmitTaskRequest{Task: &s.task, RequestId: s.requestID}, nil
}

// setWork sets the command or the function.
func (s *submission) setWork(args []string, in io.Reader) error {
	switch {
	case s.function == "" && len(args) == 0:
		return errors.New("nothing to do: give a command after '--', or --function")
	case s.function != "" && len(args) > 0:
		return fmt.Errorf("--function %s and the command %q exclude each other: give one of them", s.function, args[0])
	case s.function == "" && s.given("payload"):
		return errors.New("--payload: belongs to --function; a command takes arguments, or --env")
	case s.function != "" && (s.given("workdir") || s.given("env")):
		return errors.New("--workdir, --env: are for commands; a function takes --payload")
	}
	if s.function != "" {
		payload, err := readPayload(s.payload, in)
		if err != nil {
			return fmt.Errorf("--payload: %w", err)
		}
		s.task.Work = &v1.Task_Function{Function: &v1.FunctionTask{Name: s.function, Payload: payload}}
		return nil
	}
	for i, arg := range args {
		if !utf8.ValidString(arg) {
			return fmt.Errorf("word %d of the command is no valid UTF-8: convert it, or give the name of a file", i+1)
		}
	}
	env, err := parsePairs(s.env)
	if err != nil {
		return fmt.Errorf("--env: %w", err)
	}
	s.task.Work = &v1.Task_Exec{Exec: &v1.ExecTask{Command: args, Env: env, WorkingDir: s.workdir}}
	return nil
}

// readPayload is the JSON given, or the content of @FILE, which may be anything.
func readPayload(given string, in io.Reader) ([]byte, error) {
	path, isFile := strings.CutPrefix(given, "@")
	switch {
	case isFile && path == "-":
		return io.ReadAll(io.LimitReader(in, payloadMaxBytes))
	case isFile:
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // only read
		return io.ReadAll(io.LimitReader(file, payloadMaxBytes))
	case given != "" && !json.Valid([]byte(given)):
		return nil, fmt.Errorf("%s is not JSON: put text in double quotes within quotes, or give @FILE", short(given, 40))
	}
	return []byte(given), nil
}
