package e2e

import (
	"fmt"
	"strings"
)

// verification is what ClusterService/Verify answers.
type verification struct {
	Index   string
	Equal   bool
	Members []struct {
		Name   string
		Tables map[string]string
		Error  string
	}
	Differences []struct {
		Table   string
		Members []string
	}
}

// equal has all members hash their tables at one log index, which it returns, and
// compares. It waits until every member that runs has answered.
func (c *cluster) equal() (index string) {
	c.t.Helper()
	running := c.running()
	last := ""
	until(c.t, fmt.Sprintf("%s say what they hold", strings.Join(running, ", ")), func() bool {
		var v verification
		if err := c.try(running[0], "ClusterService/Verify", m{}, &v); err != nil {
			last = err.Error()
			return false
		}
		for _, d := range v.Differences {
			c.t.Errorf("at index %s, table %s is not the same on %s", v.Index, d.Table, strings.Join(d.Members, ", "))
		}
		answered := map[string]bool{}
		for _, m := range v.Members {
			answered[m.Name] = m.Error == "" && len(m.Tables) > 10
		}
		for _, name := range running {
			if !answered[name] {
				last = fmt.Sprintf("%+v", v.Members)
				return false
			}
		}
		index = v.Index
		return true
	})
	if index == "" {
		c.t.Logf("the last answer: %s", last)
	}
	return index
}

// running are the members that run.
func (c *cluster) running() (names []string) {
	for _, name := range c.names {
		p := c.members[name]
		if p.cmd == nil {
			continue
		}
		select {
		case <-p.done:
		default:
			names = append(names, name)
		}
	}
	return names
}

// endsEqual is the end of every test with several members, whatever it has done to
// them: those that run hold the same.
func (c *cluster) endsEqual() {
	if c.compared || c.t.Failed() || c.t.Skipped() || len(c.names) < 2 {
		return
	}
	c.compared = true
	if running := c.running(); len(running) <= len(c.names)/2 {
		c.t.Logf("replicas are not compared: of %d members %d run, which is no majority", len(c.names), len(running))
		return
	}
	c.t.Logf("all members hold the same at log index %s", c.equal())
}
