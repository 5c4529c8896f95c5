-- Ends a task that has waited for its first start until its deadline, ?3 at the
-- latest. Primary key.
UPDATE tasks SET status = 'FAILED', end_time_ms = ?2, error = ?4, retry_time_ms = NULL
WHERE seq = ?1 AND status = 'PENDING' AND queue_deadline_ms <= ?3
