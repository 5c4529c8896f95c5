-- Moves the present attempt to the past ones, if it is still the present one. ?4 is
-- FAILED, LOST or RELEASED. The guard of every step back to PENDING.
INSERT INTO past_attempts (seq, attempt, node_id, status, assign_time_ms, start_time_ms, end_time_ms, exit_code, error, log_tail)
SELECT seq, attempt, node_id, ?4, assign_time_ms, start_time_ms, ?5, ?6, ?7, ?8
FROM tasks WHERE seq = ?1 AND attempt = ?2 AND node_id = ?3 AND status IN ('ASSIGNED', 'RUNNING')
