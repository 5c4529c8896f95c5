package db

var (
	sqlRestoreAttempts  = query("restore_attempts")
	sqlRestoreEnds      = query("restore_cancelled_ends")
	sqlRestoreCancelled = query("restore_cancelled")
	sqlRestoreTasks     = query("restore_tasks")
	sqlRestoreGPUs      = query("restore_gpus")
	sqlRestoreNodes     = query("restore_nodes")
)

// RestoreSteps turn the state in a backup into one that a new cluster begins with:
// what ran is PENDING again or CANCELLED if it was to be stopped, no device is
// held, and nodes are UNKNOWN. They run in one transaction, in order, before the
// cluster exists. version is that of the backup's schema.
func RestoreSteps(version int, nowMs int64) []Step {
	now := []Value{Int(nowMs)}
	steps := []Step{{SQL: sqlRestoreAttempts, Args: now}}
	if version >= endGroupsVersion {
		steps = append(steps, Step{SQL: sqlRestoreEnds})
	}
	return append(steps, Step{SQL: sqlRestoreCancelled, Args: now},
		Step{SQL: sqlRestoreTasks}, Step{SQL: sqlRestoreGPUs}, Step{SQL: sqlRestoreNodes})
}
