package service

import (
	"reflect"

	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

var spotUseToProto = map[controlplane.SpotUse]v1.SpotUse{
	controlplane.SpotAllowed: v1.SpotUse_SPOT_USE_UNSPECIFIED,
	controlplane.SpotOnly:    v1.SpotUse_SPOT_USE_ONLY,
	controlplane.SpotNever:   v1.SpotUse_SPOT_USE_NEVER,
}

// spotUseFromProto has SPOT_USE_ALLOWED too, by its zero value.
var spotUseFromProto = inverse(spotUseToProto)

var labelOperatorToProto = map[controlplane.LabelOperator]v1.LabelOperator{
	controlplane.LabelIn:           v1.LabelOperator_LABEL_OPERATOR_IN,
	controlplane.LabelNotIn:        v1.LabelOperator_LABEL_OPERATOR_NOT_IN,
	controlplane.LabelExists:       v1.LabelOperator_LABEL_OPERATOR_EXISTS,
	controlplane.LabelDoesNotExist: v1.LabelOperator_LABEL_OPERATOR_DOES_NOT_EXIST,
	controlplane.LabelGreaterThan:  v1.LabelOperator_LABEL_OPERATOR_GREATER_THAN,
}

var labelOperatorFromProto = inverse(labelOperatorToProto)

func constraintsFromProto(c *v1.Constraints) controlplane.Constraints {
	out := controlplane.Constraints{
		Providers: c.GetProviders(), Regions: c.GetRegions(), Zones: c.GetZones(), InstanceTypes: c.GetInstanceTypes(),
		Spot: spotUseFromProto[c.GetSpot()], MaxPriceMicrosPerHour: c.GetMaxPriceMicrosPerHour(), NodeID: c.GetNodeId(),
		GPUModels: c.GetGpuModels(), MinGPUMemoryBytes: c.GetMinGpuMemoryBytes(), PreferredRegions: c.GetPreferredRegions(),
	}
	for _, l := range c.GetLabels() {
		out.Labels = append(out.Labels, controlplane.LabelSelector{
			Key: l.GetKey(), Operator: labelOperatorFromProto[l.GetOperator()], Values: l.GetValues()})
	}
	return out
}

// constraintsToProto leaves out a set that says nothing.
func constraintsToProto(c controlplane.Constraints) *v1.Constraints {
	if reflect.ValueOf(c).IsZero() {
		return nil
	}
	out := &v1.Constraints{
		Providers: c.Providers, Regions: c.Regions, Zones: c.Zones, InstanceTypes: c.InstanceTypes,
		Spot: spotUseToProto[c.Spot], MaxPriceMicrosPerHour: c.MaxPriceMicrosPerHour, NodeId: c.NodeID,
		GpuModels: c.GPUModels, MinGpuMemoryBytes: c.MinGPUMemoryBytes, PreferredRegions: c.PreferredRegions,
	}
	for _, l := range c.Labels {
		out.Labels = append(out.Labels, &v1.LabelSelector{Key: l.Key, Operator: labelOperatorToProto[l.Operator], Values: l.Values})
	}
	return out
}
