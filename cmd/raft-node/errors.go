package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/client"
)

const (
	exitFailed = 1
	exitUsage  = 2
	// exitTimeout is what timeout(1) gives.
	exitTimeout = 124
	// exitInterrupted is what shells give for SIGINT. It also stands for a
	// cancelled task: neither came to an end of its own.
	exitInterrupted = 130
)

// exitError ends the process with a code of its own. Without an error nothing is
// printed.
type exitError struct {
	code int
	err  error
}

// Error implements error.
func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap returns the error within.
func (e exitError) Unwrap() error { return e.err }

// usageErrorf is the error of a command that was called wrongly.
func usageErrorf(format string, args ...any) error {
	return exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// finish prints how a command failed and returns the exit code.
func (a *app) finish(cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	code := exitFailed
	if !a.started {
		code = exitUsage
	}
	if own, ok := errors.AsType[exitError](err); ok {
		if code = own.code; own.err == nil {
			return code
		}
	}
	fmt.Fprintf(a.err, "raft-node: %s\n", multiline(a.explain(err)))
	if code == exitUsage && cmd != nil {
		fmt.Fprintf(a.err, "See '%s --help'.\n", cmd.CommandPath())
	}
	return code
}

// explain says what went wrong and what to do next.
func (a *app) explain(err error) string {
	if e, ok := errors.AsType[*client.UnreachableError](err); ok {
		return unreachable(e) + a.contextHint()
	}
	failure, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err.Error()
	}
	message := failure.Message()
	switch failure.Code() {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		return message + a.tokenHint()
	case connect.CodeUnavailable:
		return message + ": 'raft-node cluster status' shows which members answer"
	case connect.CodeDeadlineExceeded:
		return fmt.Sprintf("no answer within %v: %s: try again, or give a longer --call-timeout", a.v.GetDuration("call-timeout"), message)
	case connect.CodeUnimplemented:
		return fmt.Sprintf("%s: what answers at %s is no control plane, or of another version: check --server", message, strings.Join(list(a.v, "server"), ", "))
	}
	if strings.Contains(message, "certificate") && !connect.IsWireError(err) {
		return innermost(failure) + ": give --tls-ca with the authority that signed the member's certificate"
	}
	if message == "" {
		message = failure.Code().String()
	}
	return message
}

func (a *app) tokenHint() string {
	if a.context != nil && a.context.Token != "" && a.v.GetString("token-file") == "" {
		return ": its token is not the members' secret, 'raft-node context add --replace' keeps another one" + a.contextHint()
	}
	if path := a.v.GetString("token-file"); path != "" {
		return fmt.Sprintf(": --token-file %s does not hold the members' secret", path) + a.contextHint()
	}
	return ": give --token-file with the members' secret" + a.contextHint()
}

func unreachable(e *client.UnreachableError) string {
	hint := ""
	if !errors.Is(e, syscall.ECONNREFUSED) && strings.Contains(strings.Join(e.Servers, " "), "http://") {
		hint = "; if it serves TLS, write https:// in --server"
	}
	return fmt.Sprintf("no member answers at %s: is it running? start one with 'raft-node serve' or give --server (%s%s)",
		strings.Join(e.Servers, ", "), innermost(e), hint)
}

// innermost is the cause of a failed call without what was called.
func innermost(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err.Error()
	}
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e.Message()
	}
	return err.Error()
}

// interruptible ends with SIGINT or SIGTERM; a second one ends the process.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
