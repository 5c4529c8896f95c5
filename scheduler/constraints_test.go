package scheduler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// constraints reads those of a submission: providers=aws,gcp regions=… zones=… types=…
// on=n1 use_spot=ONLY max_price=5 models=h100 gpu_mem=80 prefer=us,eu, and selectors
// such as select=team:IN:a|b,slow:DOES_NOT_EXIST,gen:GREATER_THAN:3.
func (c *command) constraints() controlplane.Constraints {
	out := controlplane.Constraints{
		Providers: c.list("providers"), Regions: c.list("regions"), Zones: c.list("zones"), InstanceTypes: c.list("types"),
		NodeID: c.opts["on"], Spot: controlplane.SpotUse(c.opts["use_spot"]), MaxPriceMicrosPerHour: int64(c.int("max_price", 0)),
		GPUModels: c.list("models"), MinGPUMemoryBytes: int64(c.int("gpu_mem", 0)), PreferredRegions: c.list("prefer"),
	}
	for _, s := range c.list("select") {
		parts := strings.Split(s, ":")
		l := controlplane.LabelSelector{Key: parts[0], Operator: controlplane.LabelOperator(parts[1])}
		if len(parts) > 2 {
			l.Values = strings.Split(parts[2], "|")
		}
		out.Labels = append(out.Labels, l)
	}
	return out
}

// suits says, plainly, what v_eligible is to say.
func suits(c db.Class, n *node) bool {
	s, want := n.spec, c.Constraints
	oneOf := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	if c.Function == "" && !s.Exec || c.Function != "" && !slices.Contains(s.Functions, c.Function) {
		return false
	}
	if !oneOf(want.Providers, s.Provider) || !oneOf(want.Regions, s.Region) || !oneOf(want.Zones, s.Zone) || !oneOf(want.InstanceTypes, s.InstanceType) {
		return false
	}
	if want.NodeID != "" && want.NodeID != n.id || want.Spot == controlplane.SpotOnly && !s.Spot || want.Spot == controlplane.SpotNever && s.Spot {
		return false
	}
	if m := want.MaxPriceMicrosPerHour; m > 0 && (s.PriceMicrosPerHour == 0 || s.PriceMicrosPerHour > m) {
		return false
	}
	for _, l := range want.Labels {
		if !selects(l, s.Labels) {
			return false
		}
	}
	devices := int32(0)
	for _, g := range s.GPUDevices {
		if g.MemoryBytes >= want.MinGPUMemoryBytes && oneOfModels(want.GPUModels, g.Model) {
			devices++
		}
	}
	return devices >= c.Resources.GPUs
}

func selects(l controlplane.LabelSelector, labels map[string]string) bool {
	v, has := labels[l.Key]
	switch l.Operator {
	case controlplane.LabelIn:
		return has && slices.Contains(l.Values, v)
	case controlplane.LabelNotIn:
		return !has || !slices.Contains(l.Values, v)
	case controlplane.LabelExists:
		return has
	case controlplane.LabelDoesNotExist:
		return !has
	}
	n, err := strconv.ParseInt(v, 10, 64)
	limit, _ := strconv.ParseInt(l.Values[0], 10, 64)
	return err == nil && strconv.FormatInt(n, 10) == v && n > limit
}

func oneOfModels(want []string, model string) bool {
	words := func(s string) []string { return strings.Split(strings.ToLower(strings.ReplaceAll(s, "-", " ")), " ") }
	if len(want) == 0 {
		return true
	}
	have := words(model)
	for _, w := range want {
		for i := range have {
			if n := len(words(w)); i+n <= len(have) && slices.Equal(have[i:i+n], words(w)) {
				return true
			}
		}
	}
	return false
}

// eligibilityProblems compares what v_eligible says, on its own tables and on what
// stands in for them, with suits.
func (st *state) eligibilityProblems() (problems []string) {
	st.at = st.now()
	for k, c := range st.classes {
		for _, n := range st.byNum {
			if obstacles := c.obstacles(st, n); (len(obstacles) == 0) != (c.score(st, n) <= full) {
				problems = append(problems, fmt.Sprintf("class %d %+v on %s: explained by %+v, its score is %d", k.id, c.needs, n.id, obstacles, c.score(st, n)))
			}
			want := suits(c.needs, n)
			if got := c.match(st, n).Eligible(); got != want {
				problems = append(problems, fmt.Sprintf("class %d %+v on %s %+v: v_eligible says %v, plainly it is %v", k.id, c.needs, n.id, n.spec, got, want))
			}
		}
	}
	return problems
}
