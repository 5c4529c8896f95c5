-- Tasks that wait for their start or their next attempt: read once, by a new leader.
-- Index: tasks_retry.
SELECT queue, class_id, concurrency_key, max_concurrency, priority, seq, retry_time_ms, failed_attempts > 0
FROM tasks INDEXED BY tasks_retry
WHERE retry_time_ms IS NOT NULL ORDER BY retry_time_ms, seq
