-- Keeps the attempts that ran when a backup was taken: what became of them is not known.
INSERT INTO past_attempts (seq, attempt, node_id, status, assign_time_ms, start_time_ms, end_time_ms, error)
SELECT seq, attempt, node_id, 'RELEASED', assign_time_ms, start_time_ms, ?1, 'the state was restored from a backup'
FROM tasks WHERE status IN ('ASSIGNED', 'RUNNING') ORDER BY seq
