-- Ends a task that no node has fetched, at its attempt ?3.
UPDATE tasks SET status = 'CANCELLED', end_time_ms = ?2, cancel_requested = 1, retry_time_ms = NULL, gpu_devices = NULL
WHERE id = ?1 AND attempt = ?3 AND status IN ('PENDING', 'ASSIGNED')
