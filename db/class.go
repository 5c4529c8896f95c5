package db

import (
	"context"
	"encoding/json"

	"github.com/raft-control-plane/control-plane"
)

// Class is a set of requirements; tasks of the same class fit the same nodes.
type Class struct {
	Resources   controlplane.Resources
	Constraints controlplane.Constraints
	Function    string // "" for exec tasks
}

// ClassOf returns what a task needs.
func ClassOf(t *controlplane.Task) Class {
	c := Class{Resources: t.Resources, Constraints: t.Constraints}
	if t.Function != nil {
		c.Function = t.Function.Name
	}
	return c
}

// classKey is a class as the state tells it from others.
type classKey struct {
	cpuMillis, memoryBytes, diskBytes int64
	gpus                              int32
	custom, function, constraints     string
}

const nothing = "{}"

func (c Class) key() classKey {
	r := c.Resources
	k := classKey{cpuMillis: r.CPUMillis, memoryBytes: r.MemoryBytes, diskBytes: r.DiskBytes, gpus: r.GPUs, custom: nothing, function: c.Function, constraints: nothing}
	if len(r.Custom) > 0 {
		k.custom = string(jsonCounts(r.Custom).Bytes)
	}
	if !c.Constraints.IsZero() { // each submission comes here
		k.constraints = string(jsonValue(c.Constraints.Sorted()).Bytes)
	}
	return k
}

func (k classKey) class() (Class, error) {
	c := Class{Function: k.function, Resources: controlplane.Resources{
		CPUMillis: k.cpuMillis, MemoryBytes: k.memoryBytes, DiskBytes: k.diskBytes, GPUs: k.gpus}}
	if k.custom != nothing {
		if err := json.Unmarshal([]byte(k.custom), &c.Resources.Custom); err != nil {
			return c, err
		}
	}
	return c, json.Unmarshal([]byte(k.constraints), &c.Constraints)
}

// insert is the row of a class.
func (k classKey) insert(id int64) Step {
	return Step{SQL: sqlTaskClassInsert, Args: []Value{
		Int(id), Int(k.cpuMillis), Int(k.memoryBytes), Int(k.diskBytes), Int(int64(k.gpus)), Str(k.custom), Str(k.function), Str(k.constraints)}}
}

// classes are those in the state, by need and by id. They belong to the goroutine
// that makes entries.
type classes struct {
	byNeeds map[classKey]*interned
	byID    map[int64]*interned
	// next is the next id. One that was given in this term does not come back in it.
	next int64
	// sweepAt is how many there must be before those that no task has are looked for.
	sweepAt int
}

// interned is a class that has an id.
type interned struct {
	id    int64
	key   classKey
	needs Class
	// stored says that its row is there. Until then each submission brings the row
	// along, behind its own guard, so that one that is refused leaves nothing.
	stored bool
	// last is the newest submission of this term that has it; 0 for none.
	last int64
}

// minSweep is the number of classes that may stay without use.
const minSweep = 256

func (k *classes) load(c Conn) error {
	*k = classes{byNeeds: map[classKey]*interned{}, byID: map[int64]*interned{}, next: 1, sweepAt: minSweep}
	_, err := collect(c, func(r Cursor) (*interned, error) {
		key := classKey{cpuMillis: r.Int(1), memoryBytes: r.Int(2), diskBytes: r.Int(3), gpus: int32(r.Int(4)),
			custom: r.Text(5), function: r.Text(6), constraints: r.Text(7)}
		needs, err := key.class()
		i := k.add(r.Int(0), key, needs)
		i.stored = true
		return i, err
	}, sqlTaskClassList)
	return err
}

func (k *classes) add(id int64, key classKey, needs Class) *interned {
	c := &interned{id: id, key: key, needs: needs}
	k.byNeeds[key], k.byID[id] = c, c
	k.next = max(k.next, id+1)
	return c
}

func (k *classes) remove(c *interned) {
	delete(k.byNeeds, c.key)
	delete(k.byID, c.id)
}

// intern returns what the class of the submission seq is interned as; a new one
// gets the next id.
func (k *classes) intern(key classKey, needs Class, seq int64) *interned {
	c, ok := k.byNeeds[key]
	if !ok {
		c = k.add(k.next, key, needs)
	}
	c.last = seq
	return c
}

// Class returns a class by its id. Only for the Planner, in its methods.
func (m *TaskManifest) Class(id int64) Class {
	if c := m.classes.byID[id]; c != nil {
		return c.needs
	}
	return Class{}
}

const (
	// sweepRows bounds the tasks that one read looks at.
	sweepRows = 20_000
	// sweepClasses bounds the classes that one entry deletes.
	sweepClasses = 200
)

// PruneClasses deletes the classes that no task has any more, once there are twice
// as many as it left the last time. It looks at all tasks, a few thousand at a
// time; which classes new submissions have meanwhile, the goroutine that makes
// entries knows. The leader does so by itself.
func (m *TaskManifest) PruneClasses(ctx context.Context) error {
	var due bool
	var before int64 // tasks below this key are in the state when Do returns
	err := m.Do(ctx, 0, func(*Group) {
		due, before = len(m.classes.byID) >= m.classes.sweepAt, m.nextSeq
	})
	if err != nil || !due {
		return err
	}
	used, err := m.usedClasses(ctx, before)
	for more := true; more && err == nil; {
		err = m.Do(ctx, 0, func(g *Group) { more = m.forgetClasses(g, used, before) })
	}
	return err
}

// usedClasses returns the classes of the tasks below a key.
func (m *TaskManifest) usedClasses(ctx context.Context, before int64) (map[int64]bool, error) {
	used := map[int64]bool{}
	for after, rows := int64(-1), true; rows; {
		rows = false
		err := m.readNow(ctx, func(c Conn) error {
			return each(c, sqlTaskClassUsed, func(r Cursor) {
				used[r.Int(0)] = true
				after, rows = max(after, r.Int(1)), true
			}, Int(after), Int(before), Int(sweepRows))
		})
		if err != nil {
			return nil, err
		}
	}
	return used, nil
}

// forgetClasses deletes a few classes that are not used and that no submission from
// before on has. It reports whether there may be more.
func (m *TaskManifest) forgetClasses(g *Group, used map[int64]bool, before int64) (more bool) {
	k := &m.classes
	n := 0
	for id, c := range k.byID {
		if used[id] || c.last >= before {
			continue
		}
		if n == sweepClasses {
			return true
		}
		n++
		k.remove(c)
		g.Add(&Op{Steps: []Step{{SQL: sqlTaskClassDelete, Args: []Value{Int(id)}}}}, nil)
		if f, ok := m.batch.planner.(ClassForgetter); ok {
			f.ForgetClass(id)
		}
	}
	k.sweepAt = max(minSweep, 2*len(k.byID))
	return false
}

// ClassForgetter is a Planner that keeps something for each class. ForgetClass tells
// it that no task has the class and none of this term will.
type ClassForgetter interface {
	ForgetClass(id int64)
}
