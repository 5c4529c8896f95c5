-- Tasks that wait for their next attempt: read once, by a new leader. Index: tasks_retry.
SELECT seq, queue, class_id, retry_time_ms FROM tasks INDEXED BY tasks_retry
WHERE retry_time_ms IS NOT NULL ORDER BY retry_time_ms, seq
