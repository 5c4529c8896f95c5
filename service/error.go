package service

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// errorDomain is the domain of the ErrorInfo details.
const errorDomain = "controlplane.v1"

// Reasons in ErrorInfo.
const (
	// reasonNotLeader: a forwarded call reached a member that does not lead; it was
	// not begun.
	reasonNotLeader = "NOT_LEADER"
	// reasonUnavailable: nothing was changed.
	reasonUnavailable = "UNAVAILABLE"
	// reasonOutcomeUnknown: the write may or may not take effect.
	reasonOutcomeUnknown = "OUTCOME_UNKNOWN"
	// reasonSlowReader: a watch was ended because its reader was too slow.
	reasonSlowReader = "SLOW_READER"
)

// Keys of the metadata of ErrorInfo.
const (
	// leaderKey: the leader's address.
	leaderKey = "leader"
	// cursorKey: where to resume a watch.
	cursorKey = "cursor"
	// retryKey: the field by which a repeat of the call is safe.
	retryKey = "retry_key"
)

var codeToConnect = map[controlplane.Code]connect.Code{
	controlplane.CodeInvalid:        connect.CodeInvalidArgument,
	controlplane.CodeNotFound:       connect.CodeNotFound,
	controlplane.CodeExists:         connect.CodeAlreadyExists,
	controlplane.CodePrecondition:   connect.CodeFailedPrecondition,
	controlplane.CodeExhausted:      connect.CodeResourceExhausted,
	controlplane.CodeUnavailable:    connect.CodeUnavailable,
	controlplane.CodeUnknownOutcome: connect.CodeAborted,
	controlplane.CodeOutOfRange:     connect.CodeOutOfRange,
	controlplane.CodeDeadline:       connect.CodeDeadlineExceeded,
}

// maxMessage bounds what callers are told, in bytes: it travels in headers.
const maxMessage = 1000

// errInternal is all that a caller is told of a fault of this program.
var errInternal = errors.New("a fault of this member: its log says more; if it happens again, report it")

// connectError translates an error of any layer. What it cannot tell callers it
// logs.
func (s *server) connectError(procedure string, err error) *connect.Error {
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		return fromValidation(procedure, ce)
	}
	var e *controlplane.Error
	if errors.As(err, &e) && codeToConnect[e.Code] != 0 {
		return fromControlplane(e)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, errors.New("the caller went away"))
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("the time allowed is over: allow more, or try again"))
	}
	s.log.Error("a call failed by a fault of this program", "procedure", procedure, "error", err)
	return connect.NewError(connect.CodeInternal, errInternal)
}

func fromControlplane(e *controlplane.Error) *connect.Error {
	ce := connect.NewError(codeToConnect[e.Code], errors.New(cut(e.Error(), maxMessage)))
	if e.Field != "" {
		addDetail(ce, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: e.Field, Description: cut(e.Message, maxMessage)}}})
	}
	if e.RetryAfter > 0 {
		addDetail(ce, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	switch {
	case e.Reason != "":
		addDetail(ce, &errdetails.ErrorInfo{Reason: e.Reason, Domain: errorDomain, Metadata: e.Metadata})
	case e.Code == controlplane.CodeUnavailable:
		addDetail(ce, errorInfo(reasonUnavailable, e.Leader))
	case e.Code == controlplane.CodeUnknownOutcome:
		addDetail(ce, errorInfo(reasonOutcomeUnknown, e.Leader))
	}
	return ce
}

func errorInfo(reason, leader string) *errdetails.ErrorInfo {
	info := &errdetails.ErrorInfo{Reason: reason, Domain: errorDomain}
	if leader != "" {
		info.Metadata = map[string]string{leaderKey: leader}
	}
	return info
}

func addDetail(ce *connect.Error, m proto.Message) {
	if d, err := connect.NewErrorDetail(m); err == nil { // these messages always marshal
		ce.AddDetail(d)
	}
}

// itemError is the error of one item of a batch.
func (s *server) itemError(procedure string, err error) *v1.ItemError {
	ce := s.connectError(procedure, err)
	return &v1.ItemError{Code: ce.Code().String(), Message: ce.Message()}
}

// recovered answers a call whose handler panicked.
func (s *server) recovered(_ context.Context, spec connect.Spec, _ http.Header, panicked any) error {
	s.log.Error("a handler panicked", "procedure", spec.Procedure, "panic", panicked, "stack", string(debug.Stack()))
	return connect.NewError(connect.CodeInternal, errInternal)
}

// reasonOf returns the reason and the leader in an error that another member sent.
func reasonOf(ce *connect.Error) (reason, leader string) {
	for _, d := range ce.Details() {
		m, err := d.Value()
		if info, ok := m.(*errdetails.ErrorInfo); ok && err == nil && info.GetDomain() == errorDomain {
			return info.GetReason(), info.GetMetadata()[leaderKey]
		}
	}
	return "", ""
}

// within prefixes the field of an error with where its item stands.
func within(path string, err error) error {
	var e *controlplane.Error
	if !errors.As(err, &e) || e.Field == "" {
		return err
	}
	at := *e
	at.Field = path + "." + e.Field
	return &at
}
