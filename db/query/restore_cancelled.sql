-- Ends what was to be stopped when a backup was taken.
UPDATE tasks SET status = 'CANCELLED', end_time_ms = ?1, gpu_devices = NULL
WHERE status IN ('ASSIGNED', 'RUNNING') AND cancel_requested = 1
