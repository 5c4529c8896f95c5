package controlplane

import (
	"cmp"
	"slices"
)

// Constraints say on which nodes a task may run; all that are given must hold. The
// contract describes each. Their JSON is what the state keeps and what the view
// v_eligible reads.
type Constraints struct {
	Providers             []string        `json:"providers,omitempty"`
	Regions               []string        `json:"regions,omitempty"`
	Zones                 []string        `json:"zones,omitempty"`
	InstanceTypes         []string        `json:"instance_types,omitempty"`
	Labels                []LabelSelector `json:"labels,omitempty"`
	Spot                  SpotUse         `json:"spot,omitempty"`
	MaxPriceMicrosPerHour int64           `json:"max_price_micros_per_hour,omitempty"`
	NodeID                string          `json:"node_id,omitempty"`
	GPUModels             []string        `json:"gpu_models,omitempty"`
	MinGPUMemoryBytes     int64           `json:"min_gpu_memory_bytes,omitempty"`
	// PreferredRegions are a wish: a node there is taken first.
	PreferredRegions []string `json:"preferred_regions,omitempty"`
}

// IsZero reports whether any node will do, as it does for most tasks.
func (c Constraints) IsZero() bool {
	return len(c.Providers) == 0 && len(c.Regions) == 0 && len(c.Zones) == 0 && len(c.InstanceTypes) == 0 && len(c.Labels) == 0 &&
		c.Spot == SpotAllowed && c.MaxPriceMicrosPerHour == 0 && c.NodeID == "" && len(c.GPUModels) == 0 &&
		c.MinGPUMemoryBytes == 0 && len(c.PreferredRegions) == 0
}

// LabelSelector is a condition on one label of a node.
type LabelSelector struct {
	Key      string        `json:"key"`
	Operator LabelOperator `json:"operator"`
	Values   []string      `json:"values,omitempty"`
}

// LabelOperator is what a selector asks of a label.
type LabelOperator string

// The operators; LabelGreaterThan compares whole numbers.
const (
	LabelIn           LabelOperator = "IN"
	LabelNotIn        LabelOperator = "NOT_IN"
	LabelExists       LabelOperator = "EXISTS"
	LabelDoesNotExist LabelOperator = "DOES_NOT_EXIST"
	LabelGreaterThan  LabelOperator = "GREATER_THAN"
)

// SpotUse says whether a task may run on spot machines.
type SpotUse string

// The uses of spot machines; the first is for tasks that do not mind.
const (
	SpotAllowed SpotUse = ""
	SpotOnly    SpotUse = "ONLY"
	SpotNever   SpotUse = "NEVER"
)

// Sorted returns the constraints in an order of their own, so that two sets that
// mean the same are written alike.
func (c Constraints) Sorted() Constraints {
	if c.IsZero() { // each submission comes here
		return Constraints{}
	}
	for _, list := range []*[]string{&c.Providers, &c.Regions, &c.Zones, &c.InstanceTypes, &c.GPUModels, &c.PreferredRegions} {
		*list = slices.Sorted(slices.Values(*list))
	}
	labels := append([]LabelSelector(nil), c.Labels...)
	for i, l := range labels {
		labels[i].Values = slices.Sorted(slices.Values(l.Values))
	}
	slices.SortFunc(labels, func(a, b LabelSelector) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Operator, b.Operator), slices.Compare(a.Values, b.Values))
	})
	c.Labels = labels
	return c
}
