package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
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
	if text := a.explainCertificate(err); text != "" {
		return text
	}
	message := failure.Message()
	switch failure.Code() {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		return message + a.tokenHint()
	case connect.CodeUnavailable:
		return message + ": 'raft-node cluster status' shows which members answer"
	case connect.CodeDeadlineExceeded:
		if connect.IsWireError(err) { // a limit of the member's own, which more patience does not change
			break
		}
		return fmt.Sprintf("no answer within %v: %s: try again, or give a longer --call-timeout", a.v.GetDuration("call-timeout"), message)
	case connect.CodeUnimplemented:
		return fmt.Sprintf("%s: what answers at %s is no control plane, or of another version: check --server", message, strings.Join(list(a.v, "server"), ", "))
	}
	if message == "" {
		message = failure.Code().String()
	}
	return message
}

// explainCertificate says why a member's certificate was refused; "" if it was not.
func (a *app) explainCertificate(err error) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		return ""
	}
	reason := innermost(err)
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if ca := a.v.GetString("tls-ca"); ca != "" {
			return fmt.Sprintf("%s: --tls-ca %s does not hold the authority that signed the member's certificate", reason, ca) + a.contextHint()
		}
		return reason + ": give --tls-ca with the authority that signed the member's certificate" + a.contextHint()
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		names := slices.Clone(e.Certificate.DNSNames)
		for _, ip := range e.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
		if len(names) == 0 {
			return fmt.Sprintf("the member's certificate names no host, and %s was called: give it one that names %s", e.Host, e.Host)
		}
		return fmt.Sprintf("the member's certificate is for %s, and %s was called: give one of those in --server, or the member a certificate that names %s too",
			strings.Join(names, ", "), e.Host, e.Host) + a.contextHint()
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return reason + ": give the member a new certificate, or set this machine's clock"
	}
	return reason + ": give the member another certificate, or --tls-ca with the authority that signed it"
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
	switch {
	case errors.Is(e, http.ErrSchemeMismatch) || isNoTLS(e):
		hint = "; it serves no TLS: write http:// in --server"
	case !errors.Is(e, syscall.ECONNREFUSED) && strings.Contains(strings.Join(e.Servers, " "), "http://"):
		hint = "; if it serves TLS, write https:// in --server"
	}
	return fmt.Sprintf("no member answers at %s: is it running? start one with 'raft-node serve' or give --server (%s%s)",
		strings.Join(e.Servers, ", "), innermost(e), hint)
}

// isNoTLS reports whether what answered a handshake speaks something else.
func isNoTLS(err error) bool {
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok
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
