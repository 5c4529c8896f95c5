-- Puts a task whose attempt was archived back to PENDING; ?3 holds it back until due.
UPDATE tasks
SET status = 'PENDING', retry_time_ms = ?3, failed_attempts = failed_attempts + ?4, lost_attempts = lost_attempts + ?5,
    error = ?6, exit_code = ?7, assign_time_ms = NULL, start_time_ms = NULL, gpu_devices = NULL
WHERE seq = ?1 AND attempt = ?2
