package scheduler

import (
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
	cpuMillis, memory, gpus int64
}

// shares are the queues of the oracle's state.
type sharing struct {
	name, placement        string
	weight, paused, ageing int64
	limits                 [4]int64 // tasks, CPU, memory, GPUs; -1 for none
	held                   [5]int64
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
		coalesce(q.max_tasks, -1), coalesce(q.max_cpu_millis, -1), coalesce(q.max_memory_bytes, -1), coalesce(q.max_gpus, -1),
		t.id, t.class_id, coalesce(t.concurrency_key, ''), t.priority, t.seq, t.create_time_ms, coalesce(t.max_concurrency, 0), c.cpu_millis, c.memory_bytes, c.gpus
		FROM tasks t JOIN task_classes c ON c.id = t.class_id LEFT JOIN queues q ON q.name = t.queue
		WHERE t.status = 'PENDING' AND t.retry_time_ms IS NULL`) {
		q := all[r[0]]
		if q == nil {
			q = &sharing{name: r[0], placement: r[1], weight: integer(r[2]), paused: integer(r[3]), ageing: integer(r[4])}
			for i := range q.limits {
				q.limits[i] = integer(r[5+i])
			}
			all[r[0]] = q
		}
		q.tasks = append(q.tasks, waiting{id: r[9], class: r[10], queue: r[0], key: r[11], priority: integer(r[12]), seq: integer(r[13]),
			createMs: integer(r[14]), maxConcurrency: integer(r[15]), cpuMillis: integer(r[16]), memory: integer(r[17]), gpus: integer(r[18])})
	}
	for _, r := range o.exec(`SELECT t.queue, count(*), sum(c.cpu_millis), sum(c.memory_bytes), sum(c.gpus), sum(c.disk_bytes) FROM tasks t JOIN task_classes c ON c.id = t.class_id
		WHERE t.status IN ('ASSIGNED', 'RUNNING') GROUP BY t.queue`) {
		if q := all[r[0]]; q != nil {
			for i := range q.held {
				q.held[i] = integer(r[1+i])
			}
		}
	}
	return all
}

func (o *oracle) fleet() (total [5]int64) {
	r := o.exec("SELECT coalesce(sum(slots), 0), coalesce(sum(cpu_millis), 0), coalesce(sum(memory_bytes), 0), coalesce(sum(gpus), 0), coalesce(sum(disk_bytes), 0) FROM nodes WHERE status = 'HEALTHY'")
	for i := range total {
		total[i] = integer(r[0][i])
	}
	return total
}

func (t *waiting) needs() [4]int64 { return [4]int64{1, t.cpuMillis, t.memory, t.gpus} }

func (q *sharing) allows(t waiting) bool {
	for i, n := range t.needs() {
		if q.limits[i] >= 0 && q.held[i]+n > q.limits[i] {
			return false
		}
	}
	return q.paused == 0
}

// share is the dominant share in units of 1/2^52, rounded down.
func (q *sharing) share(total [5]int64) *big.Int {
	largest := new(big.Int)
	for i, used := range q.held {
		part := new(big.Int).Lsh(big.NewInt(min(used, max(total[i], 1))), 52)
		part.Div(part, big.NewInt(max(total[i], 1)))
		if part.Cmp(largest) > 0 {
			largest = part
		}
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
