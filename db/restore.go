package db

var (
	sqlRestoreAttempts  = query("restore_attempts")
	sqlRestoreCancelled = query("restore_cancelled")
	sqlRestoreTasks     = query("restore_tasks")
	sqlRestoreGPUs      = query("restore_gpus")
	sqlRestoreNodes     = query("restore_nodes")
)

// RestoreSteps turn the state in a backup into one that a new cluster begins with:
// what ran is PENDING again or CANCELLED if it was to be stopped, no device is
// held, and nodes are UNKNOWN. They run in one transaction, in order, before the
// cluster exists.
func RestoreSteps(nowMs int64) []Step {
	now := []Value{Int(nowMs)}
	return []Step{{SQL: sqlRestoreAttempts, Args: now}, {SQL: sqlRestoreCancelled, Args: now},
		{SQL: sqlRestoreTasks}, {SQL: sqlRestoreGPUs}, {SQL: sqlRestoreNodes}}
}
