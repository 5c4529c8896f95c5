package service

import (
	"errors"

	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

// CheckTask says what a member would refuse in a task that is submitted, all of it, in
// the member's words. Fields are paths within the task.
func CheckTask(t *v1.Task) ([]*errdetails.BadRequest_FieldViolation, error) {
	var out []*errdetails.BadRequest_FieldViolation
	add := func(field, why string) {
		out = append(out, &errdetails.BadRequest_FieldViolation{Field: field, Description: why})
	}
	err := protovalidate.Validate(&v1.SubmitTaskRequest{Task: t})
	if broken, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		for _, v := range broken.Violations {
			path := protovalidate.FieldPathString(v.Proto.GetField())
			add(path[min(len(path), len("task.")):], explainRule(controlplanev1connect.TaskServiceSubmitTaskProcedure, v))
		}
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	if e, ok := errors.AsType[*controlplane.Error](checkTask(t)); ok { // it may count on the rules
		add(e.Field, e.Message)
	}
	return out, nil
}

// SuggestField names the field of a message that was probably meant, of those that may be given.
func SuggestField(md protoreflect.MessageDescriptor, given string, may func(protoreflect.FieldDescriptor) bool) string {
	return suggest(md, given, may)
}
