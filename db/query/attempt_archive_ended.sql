-- Moves the attempt with which a task ended to the past ones: the task is tried again.
-- Primary keys.
INSERT INTO past_attempts (seq, attempt, node_id, status, assign_time_ms, start_time_ms, end_time_ms, exit_code, error, log_tail)
SELECT t.seq, t.attempt, t.node_id, t.status, t.assign_time_ms, t.start_time_ms, t.end_time_ms, t.exit_code, t.error, o.log_tail
FROM tasks t LEFT JOIN task_outputs o ON o.seq = t.seq
WHERE t.seq = 0 + ?1 AND t.attempt = 0 + ?2 AND t.status IN ('FAILED', 'CANCELLED')
