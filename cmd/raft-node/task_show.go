package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// taskBlock writes everything about a task but the end of its output.
func taskBlock(w io.Writer, t *v1.Task) {
	status := enum(t.GetStatus(), taskStatusPrefix)
	if t.GetCancelRequested() {
		status += ", cancelled: its node is stopping it"
	}
	field(w, "Task", t.GetId())
	field(w, "Name", t.GetName())
	field(w, "Status", status)
	field(w, "Queue", t.GetQueue())
	field(w, "Priority", fmt.Sprint(t.GetPriority()))
	field(w, "Labels", pairs(t.GetLabels()))
	workFields(w, t)
	field(w, "Reserves", resources(t.GetResources()))
	field(w, "Nodes", constraintsText(t.GetConstraints()))
	if t.GetTimeout() != nil {
		field(w, "Timeout", t.GetTimeout().AsDuration().String())
	}
	courseFields(w, t)
	field(w, "Traceparent", t.GetTraceparent())
	field(w, "Node", t.GetNodeId())
	field(w, "Attempt", attempts(t))
	if len(t.GetGpuDevices()) > 0 {
		field(w, "GPUs", strings.Trim(fmt.Sprint(t.GetGpuDevices()), "[]"))
	}
	field(w, "Created", when(t.GetCreateTime()))
	field(w, "Assigned", when(t.GetAssignTime()))
	field(w, "Started", when(t.GetStartTime()))
	if t.GetProgress() != nil {
		field(w, "Progress", progressText(t.GetProgress())+", "+ago(t.GetProgressTime()))
	}
	field(w, "Next attempt", when(t.GetRetryTime()))
	field(w, "Ended", ended(t))
	if t.ExitCode != nil {
		field(w, "Exit code", fmt.Sprint(t.GetExitCode()))
	}
	field(w, "Error", t.GetError())
	field(w, "Result", asText(t.GetResult()))
}

// courseFields are when and how often the task is to be tried.
func courseFields(w io.Writer, t *v1.Task) {
	field(w, "Not before", when(t.GetEarliestStartTime()))
	if t.GetQueueTimeout() != nil {
		field(w, "Queue timeout", t.GetQueueTimeout().AsDuration().String())
	}
	if t.GetNoProgressTimeout() != nil {
		field(w, "No progress for", t.GetNoProgressTimeout().AsDuration().String()+" stops it")
	}
	if p := t.GetRetryPolicy(); p != nil {
		text := fmt.Sprintf("after %s, then %g times longer, at most %s, jitter %g", p.GetInitialBackoff().AsDuration(), p.GetMultiplier(), p.GetMaxBackoff().AsDuration(), p.GetJitter())
		if codes := p.GetExitCodes(); len(codes) > 0 {
			text += fmt.Sprintf(", only for exit codes %s", strings.Trim(fmt.Sprint(codes), "[]"))
		}
		field(w, "Retries", text)
	}
	if t.GetConcurrencyKey() != "" {
		field(w, "Concurrency", fmt.Sprintf("%d of key %s", t.GetMaxConcurrency(), t.GetConcurrencyKey()))
	}
}

func workFields(w io.Writer, t *v1.Task) {
	if f := t.GetFunction(); f != nil {
		field(w, "Function", f.GetName())
		field(w, "Payload", asText(f.GetPayload()))
		return
	}
	field(w, "Command", workText(t))
	field(w, "Environment", pairs(t.GetExec().GetEnv()))
	field(w, "Directory", t.GetExec().GetWorkingDir())
}

// workText is the command, or the name of the function.
func workText(t *v1.Task) string {
	if f := t.GetFunction(); f != nil {
		return f.GetName()
	}
	var words []string
	for _, word := range t.GetExec().GetCommand() {
		words = append(words, shellWord(word))
	}
	return strings.Join(words, " ")
}

// attempts is the present attempt and what became of those before.
func attempts(t *v1.Task) string {
	text := fmt.Sprintf("%d (%d of at most %d failed", t.GetAttempt(), t.GetFailedAttempts(), max(t.GetMaxAttempts(), 1))
	if t.GetLostAttempts() > 0 {
		text += fmt.Sprintf(", %d lost with their node", t.GetLostAttempts())
	}
	return text + ")"
}

func ended(t *v1.Task) string {
	text := when(t.GetEndTime())
	if text != "" && t.GetStartTime() != nil {
		text += fmt.Sprintf(", ran for %v", t.GetEndTime().AsTime().Sub(t.GetStartTime().AsTime()).Round(time.Millisecond))
	}
	return text
}

// asText shows bytes that are text, and the size of others.
func asText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return fmt.Sprintf("%d bytes that are not text: -o json has them", len(b))
}

// shellWord quotes a word so that a shell would read it as it is.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:=,@%+", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// logTail writes the end of the output below the block.
func logTail(w io.Writer, t *v1.Task) {
	if t.GetLogTail() != "" {
		text := strings.ReplaceAll(multiline(t.GetLogTail()), "\t", "        ") // a tab would part columns
		fmt.Fprintf(w, "\nEnd of the output:\n%s\n", strings.TrimRight(text, "\n"))
	}
}
