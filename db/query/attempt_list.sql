-- The attempts of a task, in order.
SELECT attempt, node_id, status, assign_time_ms, start_time_ms, end_time_ms, exit_code, error
FROM attempts WHERE task_seq = ?1 ORDER BY attempt
