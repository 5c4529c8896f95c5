-- Ends a task whose attempt has just been archived (attempt_archive).
UPDATE tasks
SET status = ?3, end_time_ms = ?4, lost_attempts = lost_attempts + ?5, error = ?6, gpu_devices = NULL
WHERE seq = ?1 AND attempt = ?2
