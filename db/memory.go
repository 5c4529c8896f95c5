package db

// memory is what the operations of submissions are made in, from one entry to the next: they
// are many, and alive until their entry is applied.
type memory struct {
	values []Value
	ops    []Op
}

const (
	// maxKeptOps bounds what is kept of the operations: what an entry of 1,024 needs.
	maxKeptOps = 1024
	// opSteps and opJournal are the steps and the bytes of a journal that most have at most; two
	// events of a task fit into it.
	opSteps, opJournal = 2, 64
)

// args returns a copy of the parameters of a step.
func (m *memory) args(args ...Value) []Value {
	first := len(m.values)
	m.values = append(m.values, args...) // what was returned before stays where it is, should this move
	return m.values[first:len(m.values):len(m.values)]
}

// op returns an operation without steps.
func (m *memory) op() *Op {
	if len(m.ops) == cap(m.ops) { // those that were returned stay where they are
		m.ops = make([]Op, 0, min(max(2*cap(m.ops), 16), maxKeptOps))
	}
	m.ops = m.ops[:len(m.ops)+1]
	op := &m.ops[len(m.ops)-1]
	if op.Steps == nil {
		op.Steps, op.Journal = make([]Step, 0, opSteps), make([]byte, 0, opJournal)
	}
	return op
}

// reset is called when nothing that was returned is used any more.
func (m *memory) reset() {
	clear(m.values)
	if m.values = m.values[:0]; cap(m.values) > maxKeptValues {
		m.values = nil
	}
	for i := range m.ops {
		op := &m.ops[i]
		clear(op.Steps)
		*op = Op{Steps: op.Steps[:0], Journal: op.Journal[:0]}
	}
	m.ops = m.ops[:0]
}
