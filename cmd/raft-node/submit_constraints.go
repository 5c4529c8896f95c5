package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// nodeChoice is what the flags of submit say of the nodes on which the task may run.
type nodeChoice struct {
	to                  v1.Constraints
	selectors           []string
	spot                string
	maxPrice, gpuMemory string
}

func (n *nodeChoice) addFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&n.to.Providers, "provider", nil, "run in one of these clouds only, such as aws,gcp")
	f.StringSliceVar(&n.to.Regions, "region", nil, "run in one of these regions only")
	f.StringSliceVar(&n.to.PreferredRegions, "prefer-region", nil, "run in one of these regions if there is room")
	f.StringSliceVar(&n.to.Zones, "zone", nil, "run in one of these zones only")
	f.StringSliceVar(&n.to.InstanceTypes, "instance-type", nil, "run on one of these types of machine only")
	f.StringArrayVar(&n.selectors, "select", nil, "condition on a node's label: key=a,b  key!=a,b  key  !key  key>3; may be repeated")
	f.StringVar(&n.spot, "spot", "allowed", "allowed, only or never: on machines that can be taken away at short notice")
	f.StringVar(&n.maxPrice, "max-price-per-hour", "", "most that the node may cost, in US dollars, such as 2.49")
	f.StringVar(&n.to.NodeId, "node", "", "run on this node only")
	f.StringSliceVar(&n.to.GpuModels, "gpu-model", nil, "the GPUs must be of one of these models, such as h100; matches whole words")
	f.StringVar(&n.gpuMemory, "gpu-memory", "", "least memory that each of the GPUs must have, such as 40GiB")
}

var spotUses = map[string]v1.SpotUse{
	"allowed": v1.SpotUse_SPOT_USE_UNSPECIFIED, "only": v1.SpotUse_SPOT_USE_ONLY, "never": v1.SpotUse_SPOT_USE_NEVER,
}

// constraints reports every mistake at once; nil if nothing is asked for.
func (n *nodeChoice) constraints() (*v1.Constraints, error) {
	var errs []error
	var ok bool
	if n.to.Spot, ok = spotUses[n.spot]; !ok {
		errs = append(errs, fmt.Errorf("--spot: %q: give allowed, only or never", n.spot))
	}
	for _, given := range n.selectors {
		s, err := parseSelector(given)
		if err != nil {
			errs = append(errs, fmt.Errorf("--select: %w", err))
		}
		n.to.Labels = append(n.to.Labels, s)
	}
	for _, a := range []struct {
		flag, given string
		parse       func(string) (int64, error)
		into        *int64
	}{
		{"max-price-per-hour", n.maxPrice, parsePrice, &n.to.MaxPriceMicrosPerHour}, {"gpu-memory", n.gpuMemory, parseMemory, &n.to.MinGpuMemoryBytes},
	} {
		if a.given == "" {
			continue
		}
		var err error
		if *a.into, err = a.parse(a.given); err == nil && *a.into == 0 {
			err = fmt.Errorf("%q: give more than 0", a.given)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", a.flag, err))
		}
	}
	if err := errors.Join(errs...); err != nil || proto.Size(&n.to) == 0 {
		return nil, err
	}
	return &n.to, nil
}

// parseSelector reads a condition on a label.
func parseSelector(s string) (*v1.LabelSelector, error) {
	at := strings.IndexAny(s, "=!>")
	out := &v1.LabelSelector{Key: s, Operator: v1.LabelOperator_LABEL_OPERATOR_EXISTS}
	values := ""
	switch {
	case at < 0:
	case at == 0 && s[0] == '!' && !strings.ContainsAny(s[1:], "=!>"):
		out.Key, out.Operator = s[1:], v1.LabelOperator_LABEL_OPERATOR_DOES_NOT_EXIST
	case s[at] == '=':
		out.Key, values, out.Operator = s[:at], s[at+1:], v1.LabelOperator_LABEL_OPERATOR_IN
	case strings.HasPrefix(s[at:], "!="):
		out.Key, values, out.Operator = s[:at], s[at+2:], v1.LabelOperator_LABEL_OPERATOR_NOT_IN
	case s[at] == '>':
		out.Key, values, out.Operator = s[:at], s[at+1:], v1.LabelOperator_LABEL_OPERATOR_GREATER_THAN
	default:
		out.Key = ""
	}
	if out.Key == "" {
		return nil, fmt.Errorf("%q: give key=a,b or key!=a,b or key or !key or key>3", s)
	}
	if out.Operator != v1.LabelOperator_LABEL_OPERATOR_EXISTS && out.Operator != v1.LabelOperator_LABEL_OPERATOR_DOES_NOT_EXIST {
		out.Values = strings.Split(values, ",")
	}
	return out, nil
}

// constraintsText writes constraints as the flags that ask for them.
func constraintsText(c *v1.Constraints) string {
	var parts []string
	add := func(flag string, values ...string) {
		if text := strings.Join(values, ","); text != "" {
			parts = append(parts, "--"+flag+" "+shellWord(text))
		}
	}
	add("provider", c.GetProviders()...)
	add("region", c.GetRegions()...)
	add("prefer-region", c.GetPreferredRegions()...)
	add("zone", c.GetZones()...)
	add("instance-type", c.GetInstanceTypes()...)
	for _, l := range c.GetLabels() {
		add("select", selectorText(l))
	}
	for word, use := range spotUses {
		if use == c.GetSpot() && word != "allowed" {
			add("spot", word)
		}
	}
	if m := c.GetMaxPriceMicrosPerHour(); m > 0 {
		add("max-price-per-hour", strconv.FormatFloat(float64(m)/1e6, 'f', -1, 64))
	}
	add("node", c.GetNodeId())
	add("gpu-model", c.GetGpuModels()...)
	if m := c.GetMinGpuMemoryBytes(); m > 0 {
		add("gpu-memory", memory(m))
	}
	return strings.Join(parts, " ")
}

func selectorText(l *v1.LabelSelector) string {
	values := strings.Join(l.GetValues(), ",")
	switch l.GetOperator() {
	case v1.LabelOperator_LABEL_OPERATOR_IN:
		return l.GetKey() + "=" + values
	case v1.LabelOperator_LABEL_OPERATOR_NOT_IN:
		return l.GetKey() + "!=" + values
	case v1.LabelOperator_LABEL_OPERATOR_GREATER_THAN:
		return l.GetKey() + ">" + values
	case v1.LabelOperator_LABEL_OPERATOR_DOES_NOT_EXIST:
		return "!" + l.GetKey()
	}
	return l.GetKey()
}
