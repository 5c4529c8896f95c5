package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// rounds is how often a test does what it does; make soak asks for more.
func rounds(t *testing.T, env string, usual int) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv(env), strconv.Itoa(usual)))
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}

// load is clients that submit tasks, and remember what was acknowledged.
type load struct {
	*cluster
	mu    sync.Mutex
	acked []string
	given atomic.Int64
	over  chan struct{}
	busy  sync.WaitGroup
}

func (l *load) run(clients int) {
	for range clients {
		l.busy.Go(func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), 0))
			for {
				select {
				case <-l.over:
					return
				default:
					l.one(r)
				}
			}
		})
	}
}

// one submits a task once, at any member. What is not acknowledged may be there.
func (l *load) one(r *rand.Rand) {
	id := fmt.Sprintf("soak-%d", l.given.Add(1))
	var a struct{ Task task }
	if l.try(l.names[r.IntN(len(l.names))], "TaskService/SubmitTask", m{"task": m{"id": id, "exec": m{"command": []string{"true"}}}}, &a) != nil {
		time.Sleep(20 * time.Millisecond) // a killed member refuses at once
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked = append(l.acked, id)
}

func (l *load) acknowledged() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.acked...)
}

// check compares what was acknowledged so far with what a member holds.
func (l *load) check(member string) (missing, twice int) {
	acked := l.acknowledged()
	there := map[string]bool{}
	for after := int64(0); ; {
		rows := l.query(member, fmt.Sprintf("SELECT seq, id FROM tasks WHERE seq > %d ORDER BY seq LIMIT 1000", after))
		for _, row := range rows {
			there[row[1]] = true
			seq, err := strconv.ParseFloat(row[0], 64)
			if err != nil {
				l.t.Fatal(err)
			}
			after = int64(seq)
		}
		if len(rows) == 0 {
			break
		}
	}
	for _, id := range acked {
		if !there[id] {
			missing++
		}
	}
	rows := l.query(member, "SELECT count(*) FROM (SELECT 1 FROM attempts WHERE status = 'COMPLETED' GROUP BY task_id HAVING count(*) > 1)")
	twice, _ = strconv.Atoi(rows[0][0])
	return missing, twice
}

// TestMembersKilledUnderLoad; RAFT_NODE_KILL_ROUNDS makes it longer.
func TestMembersKilledUnderLoad(t *testing.T) {
	n := rounds(t, "RAFT_NODE_KILL_ROUNDS", 4)
	c := newCluster(t, 3)
	c.addAgent("n1", 8)
	c.addAgent("n2", 8)
	c.client.Timeout = 10 * time.Second
	l := &load{cluster: c, over: make(chan struct{})}
	l.run(3)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	kills, all := 0, 0
	for round := range n {
		before := len(l.acknowledged())
		until(t, "tasks are acknowledged again", func() bool { return len(l.acknowledged()) >= before+50 })
		victims := r.Perm(3)[:1+r.IntN(3)]
		for _, v := range victims {
			c.members[c.names[v]].signal(syscall.SIGKILL)
		}
		for _, v := range victims {
			p := c.members[c.names[v]]
			<-p.done
			p.start()
		}
		kills += len(victims)
		if len(victims) == 3 {
			all++
		}
		c.ready()
		index := l.equal()
		missing, twice := l.check(c.names[r.IntN(3)])
		t.Logf("round %d of %d: killed %d; %d acknowledged (%d since), %d missing, %d completed twice, equal at index %s",
			round+1, n, len(victims), len(l.acknowledged()), len(l.acknowledged())-before, missing, twice, index)
		if missing > 0 || twice > 0 {
			t.Fatalf("seed %d, round %d: %d acknowledged tasks are missing, %d have two completions", seed, round, missing, twice)
		}
	}
	close(l.over)
	l.busy.Wait()
	for left, before := "", ""; left != "0"; before = left { // there may be many
		until(t, "another acknowledged task completes", func() bool {
			left = c.query(c.any(), "SELECT count(*) FROM tasks WHERE status NOT IN ('COMPLETED')")[0][0]
			return left != before
		})
	}
	missing, twice := l.check(c.any())
	t.Logf("%d rounds, %d kills, %d of all three: %d acknowledged, %d missing, %d completed twice", n, kills, all, len(l.acknowledged()), missing, twice)
	if missing > 0 || twice > 0 {
		t.Errorf("%d acknowledged tasks are missing, %d have two completions", missing, twice)
	}
}
