-- Puts a task that failed or was cancelled back to PENDING, with one more failure and
-- one more loss allowed if it has used up all. Primary key.
UPDATE tasks
SET status = 'PENDING', max_attempts = max(max_attempts, failed_attempts + 1), max_lost_attempts = max(max_lost_attempts, lost_attempts + 1),
    cancel_requested = 0, assign_time_ms = NULL, start_time_ms = NULL, end_time_ms = NULL, retry_time_ms = NULL,
    queue_deadline_ms = ?3 + queue_timeout_ms, exit_code = NULL, error = NULL
WHERE seq = ?1 AND attempt = ?2 AND status IN ('FAILED', 'CANCELLED')
