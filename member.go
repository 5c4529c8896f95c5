package controlplane

import (
	"maps"
	"slices"
)

// Member is a server that holds the state. AppliedIndex and Version are zero if
// it did not answer.
type Member struct {
	Name         string
	Address      string
	Role         MemberRole
	AppliedIndex uint64
	Version      string
}

// MemberRole is a member's part in the cluster.
type MemberRole string

// The roles of a member.
const (
	MemberLeader   MemberRole = "LEADER"
	MemberFollower MemberRole = "FOLLOWER"
	MemberNonVoter MemberRole = "NON_VOTER"
)

// Cluster is the cluster as one member sees it.
type Cluster struct {
	ID           string
	Self         string // name of that member
	Leader       string // name; empty if there is none
	Term         uint64
	AppliedIndex uint64
	Version      string
	Members      []Member
}

// Verification compares what the members hold at one log index.
type Verification struct {
	Index   uint64
	Members []MemberContent
}

// MemberContent is what one member's tables hash to, by their names. Err says why
// it did not answer.
type MemberContent struct {
	Name   string
	Tables map[string]string
	Err    error
}

// TableDifference is a table that is not the same everywhere, with the names of the
// members whose table is not that of the majority; of all if there is none.
type TableDifference struct {
	Table   string
	Members []string
}

// Equal reports whether every member has answered and all hold the same.
func (v *Verification) Equal() bool {
	for _, m := range v.Members {
		if m.Err != nil {
			return false
		}
	}
	return len(v.Differences()) == 0
}

// Differences are the tables that differ among the members that answered, by name.
func (v *Verification) Differences() []TableDifference {
	tables := map[string]bool{}
	for _, m := range v.Members {
		for t := range m.Tables {
			tables[t] = true
		}
	}
	var out []TableDifference
	for _, t := range slices.Sorted(maps.Keys(tables)) {
		if members := v.differ(t); len(members) > 0 {
			out = append(out, TableDifference{Table: t, Members: members})
		}
	}
	return out
}

// differ returns the members whose table is not that of the majority. One that has
// not got the table has a hash of its own: the empty one.
func (v *Verification) differ(table string) (names []string) {
	count, answered := map[string]int{}, 0
	for _, m := range v.Members {
		if m.Err == nil {
			count[m.Tables[table]]++
			answered++
		}
	}
	for _, m := range v.Members {
		if m.Err == nil && len(count) > 1 && 2*count[m.Tables[table]] <= answered {
			names = append(names, m.Name)
		}
	}
	return names
}

// Backup describes a backup: a SQLite database file with the whole state.
type Backup struct {
	ClusterID string
	Index     uint64 // of the log entry after which it was taken
	SizeBytes int64
	SHA256    string // hexadecimal
	// Tasks and Nodes are how many the state has.
	Tasks, Nodes int64
}
