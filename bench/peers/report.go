package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/raft-control-plane/control-plane/internal/bench"
)

// report is everything that was measured.
type report struct {
	Time     time.Time `json:"time"`
	Machine  string    `json:"machine"`
	Load     string    `json:"load_average_at_the_beginning"`
	LoadEnd  string    `json:"load_average_at_the_end"`
	Rounds   int       `json:"rounds"`
	Duration float64   `json:"phase_seconds"`
	Payload  int       `json:"payload_bytes"`
	Callers  int       `json:"callers"`
	Slots    int       `json:"slots"`
	Rate     int       `json:"dispatch_per_second"`
	Command  string    `json:"command"`
	Systems  []*row    `json:"systems"`
}

// row is one system.
type row struct {
	Name       string `json:"name"`
	Title      string `json:"title"`
	Version    string `json:"version,omitempty"`
	Durability string `json:"durability"`
	// Missing is why it was left out, Failures are of single rounds.
	Missing  string   `json:"missing,omitempty"`
	Failures []string `json:"failures,omitempty"`
	// Rounds has the results of each.
	Rounds [][]bench.Result `json:"rounds"`
}

func newReport(o *options) *report {
	return &report{
		Time: time.Now().UTC(), Machine: machine(), Load: load(), Rounds: o.rounds, Duration: o.duration.Seconds(),
		Payload: o.payload, Callers: o.callers, Slots: o.slots, Rate: o.rate, Command: strings.Join(os.Args[1:], " "),
	}
}

// machine says what this runs on.
func machine() string {
	model := runtime.GOARCH
	text, _ := os.ReadFile("/proc/cpuinfo") // elsewhere the architecture has to do
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	return fmt.Sprintf("%d cores (%s), %s", runtime.NumCPU(), model, runtime.GOOS)
}

// load is what else the machine does: the load averages of 1, 5 and 15 minutes.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

func (r *report) row(s system) *row {
	for _, x := range r.Systems {
		if x.Name == s.name {
			return x
		}
	}
	x := &row{Name: s.name, Title: s.title, Durability: s.durability}
	r.Systems = append(r.Systems, x)
	return x
}

func (r *report) add(s system, version string, results []bench.Result) {
	x := r.row(s)
	x.Version = version
	x.Rounds = append(x.Rounds, results)
	r.LoadEnd = load()
}

func (r *report) missing(s system, err error) { r.row(s).Missing = err.Error() }

func (r *report) failed(s system, err error) {
	x := r.row(s)
	x.Failures = append(x.Failures, err.Error())
}

// figure is the median of the rounds, with the least and the most.
type figure struct {
	median, low, high float64
	ok                bool
}

// figure takes a value of a phase from each round that has it.
func (x *row) figure(phase string, of func(bench.Result) float64) figure {
	var values []float64
	for _, round := range x.Rounds {
		for _, res := range round {
			if res.Phase == phase && (phase != "dispatch" || res.P50 > 0) { // none came through in so short a time
				values = append(values, of(res))
			}
		}
	}
	if len(values) == 0 {
		return figure{}
	}
	slices.Sort(values)
	n := len(values)
	return figure{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1], true}
}

func perSecond(r bench.Result) float64 { return r.PerSecond }

// markdown is the table of the README, with what it was made on.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Medians of %d rounds over all systems, %g s a phase, with the least and the most in brackets; payloads of %d bytes; %d slots that work.\n",
		r.Rounds, r.Duration, r.Payload, r.Slots)
	fmt.Fprintf(&b, "%s; %s. The load average was %s at the beginning and %s at the end: where it is above what this needs by itself,\n"+
		"some 4, the machine had other work to do.\n\n", r.Time.Format(time.DateOnly), r.Machine, r.Load, r.LoadEnd)
	fmt.Fprintf(&b, "| | submits/s, 1 caller | %d callers | tasks/s, 1,000 a call | full cycles/s | × the first line | dispatch at %d/s, p50 | p99 | CPU of a cycle, servers | on disk before it is acknowledged |\n", r.Callers, r.Rate)
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	for _, x := range r.Systems {
		r.line(&b, x)
	}
	r.disk(&b)
	for _, x := range r.Systems {
		for _, f := range x.Failures {
			fmt.Fprintf(&b, "\nA round of %s failed: %s\n", x.Title, f)
		}
	}
	return b.String()
}

func (r *report) line(b *strings.Builder, x *row) {
	if x.Missing != "" {
		fmt.Fprintf(b, "| %s | left out: %s |||||||||\n", x.Title, x.Missing)
		return
	}
	cycles := x.figure("cycle", perSecond)
	version, _, _ := strings.Cut(x.Version, " (") // of the compiler, of Debian
	fmt.Fprintf(b, "| %s, %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", x.Title, version,
		rate(x.figure("submit-1", perSecond)), rate(x.figure("submit", perSecond)), rate(x.figure("batch", perSecond)),
		rate(cycles), r.ratio(cycles),
		unit(x.figure("dispatch", func(r bench.Result) float64 { return r.P50 }), "%.1f ms"),
		unit(x.figure("dispatch", func(r bench.Result) float64 { return r.P99 }), "%.1f ms"),
		unit(x.figure("cycle", func(r bench.Result) float64 { return r.ServerCPUMicros }), "%.0f µs"), x.Durability)
}

// ratio compares with the first system that was run.
func (r *report) ratio(f figure) string {
	for _, x := range r.Systems {
		if first := x.figure("cycle", perSecond); first.ok && f.ok && first.median > 0 {
			return fmt.Sprintf("%.2f", f.median/first.median)
		}
	}
	return "–"
}

// disk is the line of the disk by itself, over all runs.
func (r *report) disk(b *strings.Builder) {
	all := &row{}
	for _, x := range r.Systems {
		all.Rounds = append(all.Rounds, x.Rounds...)
	}
	fmt.Fprintf(b, "| the disk alone: 4 KiB appended, fdatasync | %s, p50 %s |||||||| every write |\n", rate(all.figure("fsync", perSecond)),
		unit(all.figure("fsync", func(r bench.Result) float64 { return r.P50 }), "%.2f ms"))
}

func rate(f figure) string { return unit(f, "%.0f") }

func unit(f figure, format string) string {
	if !f.ok {
		return "–"
	}
	bare := strings.Fields(format)[0]
	return fmt.Sprintf(format+" ("+bare+"–"+bare+")", f.median, f.low, f.high)
}
