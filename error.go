package controlplane

import (
	"errors"
	"fmt"
	"time"
)

// Code is the kind of an Error. Each is translated once at every border, to a
// Connect code for instance.
type Code string

// The codes.
const (
	// CodeInvalid: a field is malformed; the call changes nothing however often
	// it is repeated.
	CodeInvalid Code = "invalid_argument"
	// CodeNotFound: what is named does not exist.
	CodeNotFound Code = "not_found"
	// CodeExists: the id or key belongs to something else.
	CodeExists Code = "already_exists"
	// CodePrecondition: the state does not allow it, such as a report for an
	// attempt that is no longer the present one.
	CodePrecondition Code = "failed_precondition"
	// CodeExhausted: a limit is reached for now; retry after RetryAfter.
	CodeExhausted Code = "resource_exhausted"
	// CodeUnavailable: no leader could be reached; nothing was changed.
	CodeUnavailable Code = "unavailable"
	// CodeUnknownOutcome: the leader was lost while the write was under way. It
	// may or may not take effect; repeat it with the same key.
	CodeUnknownOutcome Code = "aborted"
	// CodeOutOfRange: what is asked for is no longer kept.
	CodeOutOfRange Code = "out_of_range"
	// CodeDeadline: the time allowed is over.
	CodeDeadline Code = "deadline_exceeded"
	// CodeInternal: a fault of this program.
	CodeInternal Code = "internal"
)

// Error is a failure that a caller can act on. Message says what is wrong, by
// which limit, and what to do next.
type Error struct {
	Code       Code
	Field      string // path of the field at fault, if one is
	Message    string
	RetryAfter time.Duration
	// Leader is the address of the member to ask instead, if known.
	Leader string
	// Reason, in capitals, and Metadata tell programs what Message tells people.
	Reason   string
	Metadata map[string]string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}
	return e.Message
}

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// FieldErrorf makes an Error of CodeInvalid about a field.
func FieldErrorf(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the Error in err's chain, CodeInternal if there is
// none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
