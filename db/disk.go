package db

// Disk is what an engine says of the disk that its member's state is on.
type Disk struct {
	FreeBytes  int64
	FloorBytes int64 // below it new work is refused; 0 for never
	// Refuses is why this member, as the leader, takes no new work; nil if it does.
	// What is under way can still end, be cancelled and be deleted, which makes room.
	Refuses error
	// Full is why this member can write nothing at present; nil if it can. It goes on by
	// itself once there is room.
	Full error
}
