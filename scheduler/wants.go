package scheduler

const (
	// wantedPerSlot is how many tasks should wait for each slot of the fleet.
	wantedPerSlot = 4
	// lookedAt is how many streams are looked at for that, some microseconds: where there are
	// more, enough waits.
	lookedAt = 256
)

// wants is how many more tasks should wait: nodes that ask are then given as many as they
// can take, in few calls, while those who submit are held back (db/pace.go).
func (st *state) wants() int {
	if len(st.streams) > lookedAt {
		return 0
	}
	wants := int(st.fleet().slots) * wantedPerSlot
	for _, s := range st.streams {
		if !s.eof { // more than memory holds
			return 0
		}
		wants -= len(s.heads)
	}
	return max(0, wants)
}
