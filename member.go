package controlplane

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
