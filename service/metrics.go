package service

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/raft-control-plane/control-plane/db"
)

// metrics are what /metrics shows of this member.
type metrics struct {
	registry *prometheus.Registry
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(reg *prometheus.Registry, engine db.Engine) (*metrics, error) {
	m := &metrics{
		registry: reg,
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "controlplane_rpc_calls_total", Help: "Calls answered, by method and code."}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "controlplane_rpc_duration_seconds", Help: "Time to answer a call, by method; polls and watches wait.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 25}}, []string{"method"}),
	}
	if reg == nil {
		m.registry = prometheus.NewRegistry()
	}
	all := []prometheus.Collector{m.calls, m.seconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "controlplane_applied_index", Help: "Log index up to which this member has applied."},
			func() float64 { return float64(engine.AppliedIndex()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "controlplane_is_leader", Help: "1 if this member leads."}, func() float64 { return leads(engine) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "controlplane_disk_free_bytes", Help: "Bytes free where this member keeps its state."},
			func() float64 { return float64(engine.Disk().FreeBytes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "controlplane_disk_floor_bytes", Help: "Free bytes below which new tasks are refused; 0 for never."},
			func() float64 { return float64(engine.Disk().FloorBytes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "controlplane_refuses_tasks", Help: "1 if this member would refuse new tasks as the leader, for lack of disk."},
			func() float64 { return yes(engine.Disk().Refuses != nil) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "controlplane_disk_full", Help: "1 if this member can write nothing for lack of disk."},
			func() float64 { return yes(engine.Disk().Full != nil) }),
	}
	if reg == nil {
		all = append(all, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	var errs []error
	for _, c := range all {
		errs = append(errs, m.registry.Register(c))
	}
	return m, errors.Join(errs...)
}

func leads(engine db.Engine) float64 {
	_, self, ok := engine.Leader()
	return yes(ok && self)
}

func yes(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// observe counts an answer. The procedure is one of the contract's, so that
// callers cannot make labels.
func (m *metrics) observe(procedure string, err error, took time.Duration) {
	method := procedure[strings.LastIndexByte(procedure, '/')+1:]
	code := "ok"
	if err != nil {
		code = connect.CodeOf(err).String()
	}
	m.calls.WithLabelValues(method, code).Inc()
	m.seconds.WithLabelValues(method).Observe(took.Seconds())
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
