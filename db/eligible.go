package db

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/raft-control-plane/control-plane"
)

// Condition is one of those of the view v_eligible, by its place among them.
type Condition int

// The conditions, in the order of the columns of eligible_of.sql.
const (
	NodeFits Condition = iota
	WorkFits
	ProviderFits
	RegionFits
	ZoneFits
	InstanceTypeFits
	LabelsFit
	SpotFits
	PriceFits
	GPUsFit
	conditions
)

// Eligibility is what v_eligible says of a class and a node.
type Eligibility struct {
	// Unmet has a bit for each condition that is not met: 1 << Condition.
	Unmet     uint32
	Preferred bool
	// Devices are the GPUs that tasks of the class may be given, the smallest first.
	Devices []int32
}

// Eligible reports whether all conditions are met.
func (e *Eligibility) Eligible() bool { return e.Unmet == 0 }

// NodeKind returns what v_eligible looks at in a node, all but its id: nodes of the
// same kind are eligible for the same classes, unless those name a node.
func NodeKind(s *controlplane.NodeSpec) string {
	return string(jsonValue(nodeKind{Exec: s.Exec, Functions: s.Functions, Labels: s.Labels, Provider: s.Provider, Region: s.Region, Zone: s.Zone,
		InstanceType: s.InstanceType, Spot: s.Spot, Price: s.PriceMicrosPerHour, GPUDevices: anonymous(devices(s.GPUDevices))}).Bytes)
}

// anonymous takes off devices what only they have.
func anonymous(gpus []device) []device {
	for i := range gpus {
		gpus[i].UUID = ""
	}
	return gpus
}

type nodeKind struct {
	Exec         bool              `json:"exec"`
	Functions    []string          `json:"functions,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Provider     string            `json:"provider,omitempty"`
	Region       string            `json:"region,omitempty"`
	Zone         string            `json:"zone,omitempty"`
	InstanceType string            `json:"instance_type,omitempty"`
	Spot         bool              `json:"spot"`
	Price        int64             `json:"price_micros_per_hour"`
	GPUDevices   []device          `json:"gpu_devices,omitempty"`
}

// Kind returns what v_eligible looks at in a class.
func (c Class) Kind() string {
	return string(jsonValue(struct {
		GPUs        int32                    `json:"gpus"`
		Function    string                   `json:"function"`
		Constraints controlplane.Constraints `json:"constraints"`
	}{c.Resources.GPUs, c.Function, c.Constraints}).Bytes)
}

// loadViews makes the statement of Eligibility: eligible_of.sql on the views as the
// state has them.
func (m *TaskManifest) loadViews(c Conn) error {
	var with strings.Builder
	for _, view := range []string{"v_eligible_gpus", "v_eligible"} {
		err := each(c, sqlViewText, func(r Cursor) {
			_, text, _ := strings.Cut(r.Text(0), " AS")
			fmt.Fprintf(&with, ", %s AS (%s)", view, strip(text))
		}, Str(view))
		if err != nil {
			return err
		}
	}
	last := strings.LastIndex(sqlEligibleOf, ") SELECT node_fits")
	if with.Len() == 0 || last < 0 {
		return fmt.Errorf("the views v_eligible and v_eligible_gpus are not in the state")
	}
	m.match = sqlEligibleOf[:last+1] + with.String() + sqlEligibleOf[last+1:]
	return nil
}

// Eligibility asks v_eligible about a class and a node, by their kinds. Only for the
// Planner, in its methods.
func (m *TaskManifest) Eligibility(c Conn, class, node, nodeID string) (e Eligibility, err error) {
	found, jsonErr := false, error(nil)
	err = each(c, m.match, func(r Cursor) {
		found = true
		for i := range int(conditions) {
			if r.Int(i) == 0 {
				e.Unmet |= 1 << i
			}
		}
		e.Preferred = r.Int(int(conditions)) != 0
		jsonErr = json.Unmarshal([]byte(r.Text(int(conditions)+2)), &e.Devices)
		if (r.Int(int(conditions)+1) != 0) != e.Eligible() {
			jsonErr = fmt.Errorf("v_eligible has a condition that this release does not know: upgrade this member")
		}
	}, Str(class), Str(node), Str(nodeID))
	switch {
	case err != nil:
		return e, err
	case !found:
		return e, fmt.Errorf("v_eligible says nothing")
	}
	return e, jsonErr
}
