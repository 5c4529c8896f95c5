package db

import (
	"embed"
	"regexp"
	"strings"
)

// The statements, one a file, runnable as they stand in a SQLite shell.
//
//go:embed query/*.sql
var queryFiles embed.FS

var (
	sqlTaskInsert          = query("task_insert")
	sqlTaskInsertWaiting   = query("task_insert_waiting")
	sqlTaskInputInsert     = query("task_input_insert")
	sqlTaskInputTraced     = query("task_input_insert_traced")
	sqlTaskClassInsert     = query("task_class_insert")
	sqlTaskClassList       = query("task_class_list")
	sqlTaskClassUsed       = query("task_class_used")
	sqlTaskClassDelete     = query("task_class_delete")
	sqlTaskAssign          = query("task_assign")
	sqlTaskAssignNext      = query("task_assign_next")
	sqlTaskAssignByID      = both("task_assign_by_id")
	sqlTaskDeliver         = query("task_deliver")
	sqlTaskEnd             = query("task_end")
	sqlTaskEndArchived     = query("task_end_archived")
	sqlTaskCompleteByID    = query("task_complete_by_id")
	sqlTaskOutputPut       = query("task_output_put")
	sqlTaskOutputPutByID   = query("task_output_put_by_id")
	sqlAttemptArchive      = query("attempt_archive")
	sqlTaskRequeue         = query("task_requeue")
	sqlTaskDue             = query("task_due")
	sqlTaskCancelWaiting   = query("task_cancel_waiting")
	sqlTaskCancelRunning   = query("task_cancel_running")
	sqlTaskGet             = query("task_get")
	sqlTaskGetBefore       = query("task_get_before")
	sqlTaskIDByRequest     = query("task_id_by_request")
	sqlTaskGetForWork      = query("task_get_for_work")
	sqlTaskList            = query("task_list")
	sqlTaskListOnNode      = query("task_list_on_node")
	sqlTaskHeads           = query("task_heads")
	sqlTaskStreams         = query("task_streams")
	sqlTaskHeld            = query("task_held")
	sqlTaskRetries         = query("task_retries")
	sqlTaskQueueTimeout    = query("task_queue_timeout")
	sqlTaskOverdue         = query("task_overdue")
	sqlTaskNextDeadline    = query("task_next_deadline")
	sqlTaskRetryFacts      = query("task_retry_facts")
	sqlTaskRetry           = query("task_retry")
	sqlTaskCancelled       = query("task_cancelled")
	sqlTaskOutputDelete    = query("task_output_delete")
	sqlTaskEndDelete       = query("task_end_delete")
	sqlTaskEndInsert       = query("task_end_insert")
	sqlAttemptArchiveEnded = query("attempt_archive_ended")
	sqlTaskMaxSeq          = query("task_max_seq")
	sqlTaskLastEnd         = query("task_last_end")
	sqlTaskPrunable        = query("task_prunable")
	sqlTaskFloorRaise      = query("task_floor_raise")
	sqlTaskPrune           = query("task_prune")
	sqlTaskInputPrune      = query("task_input_prune")
	sqlTaskOutputPrune     = query("task_output_prune")
	sqlPastAttemptPrune    = query("past_attempt_prune")
	sqlTaskEndPrune        = query("task_end_prune")
	sqlPrunedTaskInsert    = query("pruned_task_insert")
	sqlPrunedTaskPrunable  = query("pruned_task_prunable")
	sqlPrunedTaskPrune     = query("pruned_task_prune")
	sqlAttemptGet          = query("attempt_get")
	sqlAttemptLog          = query("attempt_log")
	sqlLogStartGet         = query("log_start_get")
	sqlLogStartPut         = query("log_start_put")
	sqlLogStartPrune       = query("log_start_prune")
	sqlEventInsert         = query("event_insert")
	sqlEventList           = query("event_list")
	sqlEventLast           = query("event_last")
	sqlEventFloor          = query("event_floor")
	sqlEventFloorRaise     = query("event_floor_raise")
	sqlEventPrunable       = query("event_prunable")
	sqlEventPrune          = query("event_prune")
	sqlEventTasks          = query("event_tasks")
	sqlEventPrunedTasks    = query("event_pruned_tasks")
	sqlNodeRegister        = query("node_register")
	sqlNodeSessionRetire   = query("node_session_retire")
	sqlNodeRetireFormer    = query("node_session_retire_former")
	sqlNodeBack            = query("node_back")
	sqlNodeSessionRetired  = query("node_session_retired")
	sqlNodeGPUsClear       = query("node_gpus_clear")
	sqlNodeGPUsInsert      = query("node_gpus_insert")
	sqlNodeGPUTake         = query("node_gpu_take")
	sqlNodeGPUsFree        = query("node_gpus_free")
	sqlNodeRenew           = query("node_renew")
	sqlNodeHeartbeatByID   = query("node_heartbeat_by_id")
	sqlNodeLapse           = query("node_lapse")
	sqlNodeExpire          = query("node_expire")
	sqlNodeGet             = query("node_get")
	sqlNodeList            = query("node_list")
	sqlNodeLeastLoaded     = query("node_select_least_loaded")
	sqlNodeMostLoaded      = query("node_select_most_loaded")
	sqlNodeCheapest        = query("node_select_cheapest")
	sqlQueueInsert         = both("queue_insert")
	sqlQueueUpdate         = both("queue_update")
	sqlQueueDelete         = query("queue_delete")
	sqlQueueGet            = both("queue_get")
	sqlQueueList           = both("queue_list")
	sqlQueueLimitsKnown    = query("queue_limits_known")
	sqlQueueSettings       = both("queue_settings")
	sqlMigrationList       = query("migration_list")
	sqlMigrationInsert     = query("migration_insert")
	sqlMigrationTable      = query("migration_table")
	sqlQueueAgeing         = query("queue_ageing")
	sqlTaskAheadAgeing     = query("task_ahead_ageing")
	sqlTaskAhead           = query("task_ahead")
	sqlNodeCordon          = query("node_cordon")
	sqlNodeUncordon        = query("node_uncordon")
	sqlNodeDrain           = query("node_drain")
	sqlNodeTerminating     = query("node_terminating")
	sqlNodePolling         = query("node_polling")
	sqlNodeProbation       = query("node_probation")
	sqlNodeRemove          = query("node_remove")
	sqlNodeSessionsForget  = query("node_sessions_forget")
	sqlNodePrunable        = query("node_prunable")
	sqlEligibleOf          = query("eligible_of")
	sqlViewText            = query("view_text")
)

var (
	// Between these marks stands what a statement has only since the last migration that
	// concerns it: until that is applied, before runs without.
	since = regexp.MustCompile(`(?s)/\*\+\*/.*?/\*-\*/`)
	marks = strings.NewReplacer("/*+*/", "", "/*-*/", "")

	comment = regexp.MustCompile(`(?m)--.*$`)
	space   = regexp.MustCompile(`\s+`)
)

// query returns the text of a file without comments and needless space: it goes
// into every log entry, and a driver keeps a prepared statement only if nothing
// follows it.
func query(name string) string { return strip(marks.Replace(queryFile(name))) }

// versions are a statement as it is, and as it was before the marks.
type versions struct{ now, before string }

func both(name string) versions { return versions{query(name), before(name)} }

// of is the one that the schema knows.
func (v versions) of(known bool) string {
	if known {
		return v.now
	}
	return v.before
}

// before is query for the schema before what the marks say.
func before(name string) string { return strip(since.ReplaceAllString(queryFile(name), "")) }

func queryFile(name string) string {
	text, err := queryFiles.ReadFile("query/" + name + ".sql")
	if err != nil {
		panic(err) // a name above has no file: caught by any test
	}
	return string(text)
}

func strip(sql string) string {
	return strings.TrimSpace(space.ReplaceAllString(comment.ReplaceAllString(sql, ""), " "))
}
