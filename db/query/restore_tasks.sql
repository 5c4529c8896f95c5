-- Puts what ran when a backup was taken back to PENDING. A report of the old attempt
-- is refused: the next one has another number.
UPDATE tasks SET status = 'PENDING', assign_time_ms = NULL, start_time_ms = NULL, gpu_devices = NULL
WHERE status IN ('ASSIGNED', 'RUNNING')
