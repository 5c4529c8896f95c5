-- Completes the task ?1 at its attempt ?3: the one-at-a-time form.
UPDATE tasks SET status = 'COMPLETED', end_time_ms = ?2, start_time_ms = coalesce(start_time_ms, ?2), gpu_devices = NULL
WHERE id = ?1 AND attempt = ?3 AND status IN ('ASSIGNED', 'RUNNING')
