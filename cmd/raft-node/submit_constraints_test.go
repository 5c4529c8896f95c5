package main

import (
	"testing"

	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func TestSubmitConstraints(t *testing.T) {
	m, got := taker(t)
	m.at(t, "submit", "--disk", "1GiB", "--resource", "license=2", "--provider", "aws,gcp", "--region", "us-east-1", "--prefer-region", "eu,us",
		"--zone", "a", "--instance-type", "p5", "--select", "team=ml,data", "--select", "team!=ops", "--select", "fast", "--select", "!slow", "--select", "gen>3",
		"--spot", "never", "--max-price-per-hour", "2.49", "--node", "n1", "--gpus", "1", "--gpu-model", "h100", "--gpu-memory", "40GiB", "true").expect(t, 0, nil, nil)
	want := &v1.Constraints{
		Providers: []string{"aws", "gcp"}, Regions: []string{"us-east-1"}, PreferredRegions: []string{"eu", "us"}, Zones: []string{"a"}, InstanceTypes: []string{"p5"},
		Labels: []*v1.LabelSelector{
			{Key: "team", Operator: v1.LabelOperator_LABEL_OPERATOR_IN, Values: []string{"ml", "data"}},
			{Key: "team", Operator: v1.LabelOperator_LABEL_OPERATOR_NOT_IN, Values: []string{"ops"}},
			{Key: "fast", Operator: v1.LabelOperator_LABEL_OPERATOR_EXISTS},
			{Key: "slow", Operator: v1.LabelOperator_LABEL_OPERATOR_DOES_NOT_EXIST},
			{Key: "gen", Operator: v1.LabelOperator_LABEL_OPERATOR_GREATER_THAN, Values: []string{"3"}},
		},
		Spot: v1.SpotUse_SPOT_USE_NEVER, MaxPriceMicrosPerHour: 2_490_000, NodeId: "n1", GpuModels: []string{"h100"}, MinGpuMemoryBytes: 40 << 30,
	}
	task := (*got)[0].GetTask()
	if !proto.Equal(task.GetConstraints(), want) {
		t.Errorf("constraints = %v\nwant %v", task.GetConstraints(), want)
	}
	if r := task.GetResources(); r.GetDiskBytes() != 1<<30 || r.GetCustom()["license"] != 2 {
		t.Errorf("resources = %v", r)
	}
	text := "--provider aws,gcp --region us-east-1 --prefer-region eu,us --zone a --instance-type p5 --select team=ml,data --select 'team!=ops' --select fast " +
		"--select '!slow' --select 'gen>3' --spot never --max-price-per-hour 2.49 --node n1 --gpu-model h100 --gpu-memory 40GiB"
	if shown := constraintsText(want); shown != text {
		t.Errorf("shown as %s\nwant %s", shown, text)
	}
}

func TestSubmitConstraintMistakes(t *testing.T) {
	m, got := taker(t)
	m.at(t, "submit", "--select", "=x", "--select", "a!b", "--spot", "maybe", "--max-price-per-hour", "0", "--gpu-memory", "much", "--resource", "license=none", "--disk", "big",
		"true").expect(t, exitUsage, nil, []string{`--select: "=x"`, `--select: "a!b"`, `--spot: "maybe"`, `--max-price-per-hour: "0"`, `--gpu-memory: "much"`,
		"--resource: license=none", `--disk: "big"`})
	if len(*got) > 0 {
		t.Error("it was submitted all the same")
	}
}
