package scheduler

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
)

// waiting is a pending task as the oracle sees it.
type waiting struct {
	id, class, queue, key   string
	priority, seq, createMs int64
	maxConcurrency          int64
	// needs are slots, CPU, memory, GPUs, disk, and what else there is.
	needs  [5]int64
	custom map[string]int64
}

// shares are the queues of the oracle's state.
type sharing struct {
	name, placement        string
	weight, paused, ageing int64
	limits                 [5]int64 // like needs; -1 for none
	held                   [5]int64
	customLimits           map[string]int64
	customHeld             map[string]int64
	tasks                  []waiting
}

// first is the next task that can be placed, and its node.
func (o *oracle) first() (id, node string) {
	full := map[string]bool{} // class and placement that find no node
	keys := map[string]int64{}
	for _, r := range o.exec("SELECT concurrency_key, count(*) FROM tasks WHERE status IN ('ASSIGNED', 'RUNNING') AND concurrency_key IS NOT NULL GROUP BY 1") {
		keys[r[0]] = integer(r[1])
	}
	type choice struct {
		queue *sharing
		task  waiting
		node  string
	}
	var choices []choice
	total := o.fleet()
	for _, q := range o.sharing() {
		slices.SortFunc(q.tasks, q.order)
		for _, t := range q.tasks {
			if full[t.class+q.placement] || !q.allows(t) || t.key != "" && keys[t.key] >= t.maxConcurrency {
				continue
			}
			if best := o.exec(o.selects[q.placement], t.class, 1); len(best) == 1 {
				choices = append(choices, choice{q, t, best[0][0]})
				break
			}
			full[t.class+q.placement] = true
		}
	}
	if len(choices) == 0 {
		return "", ""
	}
	best := slices.MinFunc(choices, func(a, b choice) int {
		x, y := a.queue.share(total), b.queue.share(total)
		x.Mul(x, big.NewInt(b.queue.weight))
		y.Mul(y, big.NewInt(a.queue.weight))
		if c := x.Cmp(y); c != 0 {
			return c
		}
		return plainOrder(a.task, b.task)
	})
	return best.task.id, best.node
}

// sharing reads the queues that have pending tasks.
func (o *oracle) sharing() map[string]*sharing {
	all := map[string]*sharing{}
	for _, r := range o.exec(`SELECT t.queue, coalesce(q.placement, 'SPREAD'), coalesce(q.weight, 1), coalesce(q.paused, 0), coalesce(q.ageing_interval_ms, 0),
		coalesce(q.max_tasks, -1), coalesce(q.max_cpu_millis, -1), coalesce(q.max_memory_bytes, -1), coalesce(q.max_gpus, -1), coalesce(q.max_disk_bytes, -1), coalesce(q.max_custom, '{}'),
		t.id, t.class_id, coalesce(t.concurrency_key, ''), t.priority, t.seq, t.create_time_ms, coalesce(t.max_concurrency, 0), c.cpu_millis, c.memory_bytes, c.gpus, c.disk_bytes, c.custom
		FROM tasks t JOIN task_classes c ON c.id = t.class_id LEFT JOIN queues q ON q.name = t.queue
		WHERE t.status = 'PENDING' AND t.retry_time_ms IS NULL`) {
		q := all[r[0]]
		if q == nil {
			q = &sharing{name: r[0], placement: r[1], weight: integer(r[2]), paused: integer(r[3]), ageing: integer(r[4])}
			for i := range q.limits {
				q.limits[i] = integer(r[5+i])
			}
			q.customLimits, q.customHeld = counts(r[10]), map[string]int64{}
			all[r[0]] = q
		}
		r = r[11:]
		t := waiting{id: r[0], class: r[1], queue: q.name, key: r[2], priority: integer(r[3]), seq: integer(r[4]), createMs: integer(r[5]), maxConcurrency: integer(r[6]),
			needs: [5]int64{1}, custom: counts(r[11])}
		for i := range t.needs[1:] {
			t.needs[1+i] = integer(r[7+i])
		}
		q.tasks = append(q.tasks, t)
	}
	for _, r := range o.exec(`SELECT t.queue, count(*), sum(c.cpu_millis), sum(c.memory_bytes), sum(c.gpus), sum(c.disk_bytes) FROM tasks t JOIN task_classes c ON c.id = t.class_id
		WHERE t.status IN ('ASSIGNED', 'RUNNING') GROUP BY t.queue`) {
		if q := all[r[0]]; q != nil {
			for i := range q.held {
				q.held[i] = integer(r[1+i])
			}
		}
	}
	for _, r := range o.exec(`SELECT t.queue, j.key, sum(j.value) FROM tasks t JOIN task_classes c ON c.id = t.class_id, json_each(c.custom) j
		WHERE t.status IN ('ASSIGNED', 'RUNNING') GROUP BY t.queue, j.key`) {
		if q := all[r[0]]; q != nil {
			q.customHeld[r[1]] = integer(r[2])
		}
	}
	return all
}

// total is what the healthy nodes have together.
type total struct {
	has    [5]int64
	custom map[string]int64
}

func counts(s string) (m map[string]int64) {
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		panic(fmt.Sprintf("the oracle's SQL gives %q for numbers by name", s))
	}
	return m
}

func (o *oracle) fleet() (t total) {
	r := o.exec("SELECT coalesce(sum(slots), 0), coalesce(sum(cpu_millis), 0), coalesce(sum(memory_bytes), 0), coalesce(sum(gpus), 0), coalesce(sum(disk_bytes), 0) FROM nodes WHERE status = 'HEALTHY'")
	for i := range t.has {
		t.has[i] = integer(r[0][i])
	}
	t.custom = map[string]int64{}
	for _, r := range o.exec("SELECT j.key, sum(j.value) FROM nodes, json_each(nodes.custom) j WHERE status = 'HEALTHY' GROUP BY j.key") {
		t.custom[r[0]] = integer(r[1])
	}
	return t
}

func (q *sharing) allows(t waiting) bool {
	for i, n := range t.needs {
		if q.limits[i] >= 0 && q.held[i]+n > q.limits[i] {
			return false
		}
	}
	for name, n := range t.custom {
		if limit, limited := q.customLimits[name]; limited && q.customHeld[name]+n > limit {
			return false
		}
	}
	return q.paused == 0
}

// share is the dominant share in units of 1/2^52, rounded down.
func (q *sharing) share(t total) *big.Int {
	largest := new(big.Int)
	for i, used := range q.held {
		largest = larger(largest, used, t.has[i])
	}
	for name, used := range q.customHeld {
		largest = larger(largest, used, t.custom[name])
	}
	return largest
}

func larger(largest *big.Int, used, total int64) *big.Int {
	part := new(big.Int).Lsh(big.NewInt(min(used, max(total, 1))), 52)
	if part.Div(part, big.NewInt(max(total, 1))).Cmp(largest) > 0 {
		return part
	}
	return largest
}

// order is by priority and then age, where each ageing interval that one has waited
// longer makes up for one priority.
func (q *sharing) order(a, b waiting) int {
	if q.ageing > 0 {
		x := new(big.Rat).SetFrac64(b.createMs-a.createMs, q.ageing) // by how much a has gained on b
		x.Add(x, new(big.Rat).SetInt64(a.priority-b.priority))
		if x.Sign() != 0 {
			return -x.Sign()
		}
		return int(a.seq - b.seq)
	}
	return plainOrder(a, b)
}

func plainOrder(a, b waiting) int {
	if a.priority != b.priority {
		return int(b.priority - a.priority)
	}
	return int(a.seq - b.seq)
}

func integer(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("the oracle's SQL gives %q for an integer", s))
	}
	return n
}
