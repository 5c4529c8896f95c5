package scheduler

import (
	"github.com/raft-control-plane/control-plane"
)

// CheckHeld tells of each attempt whether a node's session holds it: nil, or why not. It
// fails with CodeUnavailable on a member that does not lead.
func (s *Scheduler) CheckHeld(nodeID, session string, attempts []controlplane.Attempt) ([]error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.st == nil {
		return nil, controlplane.Errorf(controlplane.CodeUnavailable, "this member no longer leads")
	}
	_, refused := s.st.session(nodeID, session)
	errs := make([]error, len(attempts))
	for i, a := range attempts {
		errs[i] = refused
		if h := s.st.held[a.TaskID]; refused == nil && (h == nil || h.Attempt != a.Attempt || h.node.id != nodeID) {
			errs[i] = controlplane.Errorf(controlplane.CodePrecondition,
				"attempt %d of task %s does not run on this session of node %s: send nothing more of its log", a.Attempt, a.TaskID, nodeID)
		}
	}
	return errs, nil
}

// IsHeld reports whether some node holds an attempt, as far as this member knows. One
// that ends in the log entry under way is not held any more.
func (s *Scheduler) IsHeld(a controlplane.Attempt) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.st == nil {
		return false
	}
	h := s.st.held[a.TaskID]
	return h != nil && h.Attempt == a.Attempt
}
