package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/raft-control-plane/control-plane/internal/bench"
)

// rounds are several runs over all systems.
type rounds struct {
	*options
	dir    string
	report *report
	say    func(format string, args ...any)
}

// run makes the rounds. A system that is not installed is left out, with the reason.
func (r *rounds) run(ctx context.Context, chosen []system) error {
	begun := time.Now()
	for round := range r.rounds {
		var left []system
		for _, s := range chosen {
			err := r.one(ctx, round, s)
			switch {
			case errors.Is(err, errMissing):
				r.say("%s is left out: %s", s.name, err)
				r.report.missing(s, err)
				continue
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil: // one that fails once is tried again in the next round
				r.say("%s failed: %s", s.name, err)
				r.report.failed(s, err)
			}
			left = append(left, s)
		}
		chosen = left
		r.say("round %d of %d is over after %.0f s", round+1, r.rounds, time.Since(begun).Seconds())
	}
	if len(chosen) == 0 {
		return errors.New("no system could be run")
	}
	return nil
}

// one puts one system through all phases.
func (r *rounds) one(ctx context.Context, round int, s system) error {
	dir := filepath.Join(r.dir, fmt.Sprintf("%d-%s", round+1, s.name))
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's user must get through to its own
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it goes with the directory that it is in
	run, err := s.start(ctx, &env{options: r.options, dir: dir})
	if err != nil {
		return err
	}
	defer run.stop()
	results, err := bench.Run(ctx, r.config(dir, run.config))
	r.report.add(s, run.version, results)
	if err == nil {
		r.say("round %d, %s: %s", round+1, s.name, line(results))
	}
	return err
}

func (r *rounds) config(dir string, c bench.Config) bench.Config {
	c.Dir, c.Duration, c.Callers, c.Slots, c.Payload, c.Rate, c.Phases = dir, r.duration, r.callers, r.slots, r.payload, r.rate, bench.Comparable()
	return c
}

// line says what a run has measured.
func line(results []bench.Result) (text string) {
	for _, res := range results {
		if res.Phase == "dispatch" {
			text += fmt.Sprintf(" %s %.1f/%.1f ms", res.Phase, res.P50, res.P99)
			continue
		}
		text += fmt.Sprintf(" %s %.0f/s,", res.Phase, res.PerSecond)
	}
	return text
}
