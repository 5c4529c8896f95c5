package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// meter counts operations and the CPU that they took.
type meter struct {
	servers func() time.Duration // CPU time of the system under load
	some    chan struct{}        // closed once something is counted

	mu        sync.Mutex
	hist      *hdrhistogram.Histogram // microseconds
	measuring bool
	begun     time.Time
	took      time.Duration
	count     int64
	errors    int64
	cpu       time.Duration // of the servers
	ownCPU    time.Duration // of this process
}

func newMeter(servers func() time.Duration) *meter {
	return &meter{servers: servers, some: make(chan struct{}), hist: hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3)}
}

func (m *meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.measuring, m.begun, m.cpu, m.ownCPU = true, time.Now(), -m.servers(), -ownCPUTime()
}

func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.measuring = false
	m.took = time.Since(m.begun)
	m.cpu += m.servers()
	m.ownCPU += ownCPUTime()
}

func (m *meter) record(took time.Duration, weight int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.measuring {
		return
	}
	if m.count == 0 && weight > 0 {
		close(m.some)
	}
	m.count += weight
	_ = m.hist.RecordValue(max(1, took.Microseconds())) // beyond ten minutes it is lost
}

func (m *meter) failed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.errors++
}

func (m *meter) result(phase string, callers int) Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	ms := func(q float64) float64 { return float64(m.hist.ValueAtQuantile(q)) / 1000 }
	res := Result{
		Phase: phase, Callers: callers, Operations: m.count, Seconds: m.took.Seconds(), PerSecond: float64(m.count) / m.took.Seconds(),
		P50: ms(50), P99: ms(99), P999: ms(99.9), Max: float64(m.hist.Max()) / 1000, Errors: m.errors,
	}
	if m.count > 0 {
		res.ServerCPUMicros = float64(m.cpu.Microseconds()) / float64(m.count)
		res.CPUMicros = float64((m.cpu + m.ownCPU).Microseconds()) / float64(m.count)
	}
	return res
}
