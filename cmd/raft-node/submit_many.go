package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	// submitBatch and submitBatchBytes bound a call; the contract has 1,000 and 4 MiB.
	submitBatch      = 1000
	submitBatchBytes = 3 << 20
	// requestKeyMax leaves room for the index behind it, of the 128 bytes that a
	// request_id may have.
	requestKeyMax = 100
	// refusedShown is how many refused tasks are told of.
	refusedShown = 10
)

// many are tasks that are submitted by one command.
type many struct {
	// key makes it safe to submit all again: the request id of each begins with it.
	key string
	// label finds the tasks again; "" if none does.
	label string
	count int
	// idOnly is for who needs no more of the stored tasks than their ids.
	idOnly bool
	// task makes the one at i, and says where it comes from.
	task func(i int) (t *v1.Task, place string)
	// index is what its request id ends with; nil for its place among all.
	index func(i int) int
}

// manyKey is the request id that was given, or one that is made.
func manyKey(given string) (string, error) {
	if len(given) > requestKeyMax {
		return "", usageErrorf("--request-id: has %d bytes, at most %d are allowed for several tasks: shorten it", len(given), requestKeyMax)
	}
	if given != "" {
		return given, nil
	}
	id, err := uuid.NewV7()
	return id.String(), err
}

// submitMany stores tasks, up to 1,000 in a call, and returns them in their order. Some
// may be refused, which is an error, and not stop the others; those are nil. With idOnly
// nothing but their ids is set.
func (a *app) submitMany(ctx context.Context, c *client.Client, m many) ([]*v1.Task, error) {
	p := progressOf(a.err, func(done, total int64) string { return fmt.Sprintf("%d of %d tasks submitted", done, total) })
	p.total = int64(m.count)
	defer p.end()
	var refused []error
	tasks := make([]*v1.Task, 0, m.count)
	for len(tasks) < m.count {
		batch, places := m.batch(len(tasks))
		res, err := c.SubmitTasks(withSubmitter(ctx), batch)
		if err != nil {
			p.end()
			return tasks, a.cutOff(ctx, err, m, places, len(tasks))
		}
		for i, o := range res.GetOutcomes() {
			if e := o.GetError(); e != nil {
				refused = append(refused, refusedItem(places[i], e))
			}
			if id := o.GetTaskId(); id != "" {
				tasks = append(tasks, &v1.Task{Id: id})
				continue
			}
			tasks = append(tasks, o.GetTask())
		}
		p.add(int64(len(places)))
	}
	p.end()
	return tasks, refusedItems(refused, m.count)
}

// batch is what fits into one call, one task at least. The id of a task makes a repeat safe
// by itself; a key beside it would be another one with each command.
func (m many) batch(from int) (*v1.SubmitTasksRequest, []string) {
	batch, size := &v1.SubmitTasksRequest{}, 0
	var places []string
	for i := from; i < m.count && i < from+submitBatch; i++ {
		t, place := m.task(i)
		req := &v1.SubmitTaskRequest{Task: t, IdOnly: m.idOnly}
		if t.GetId() == "" {
			req.RequestId = m.key + "/" + strconv.Itoa(m.indexOf(i))
		}
		if size += proto.Size(req) + 16; i > from && size > submitBatchBytes {
			break
		}
		batch.Requests, places = append(batch.Requests, req), append(places, place)
	}
	return batch, places
}

func (m many) indexOf(i int) int {
	if m.index == nil {
		return i
	}
	return m.index(i)
}

// printTasks prints tasks that were submitted, those that were not left out.
func (a *app) printTasks(tasks []*v1.Task) error {
	stored := &v1.ListTasksResponse{}
	for _, t := range tasks {
		if t != nil {
			stored.Tasks = append(stored.Tasks, t)
		}
	}
	if a.forPrograms() {
		return a.print(stored, nil)
	}
	return a.printNames(itemsOf(stored))
}

// jsonOf is a text that is JSON as it is, and any other as a text in JSON.
func jsonOf(text string) []byte {
	if json.Valid([]byte(text)) {
		return []byte(text)
	}
	quoted, _ := json.Marshal(text) // a text always has a form
	return quoted
}
