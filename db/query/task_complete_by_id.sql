-- Completes the task ?1 at whatever attempt it is: the one-at-a-time form.
UPDATE tasks SET status = 'COMPLETED', end_time_ms = ?2, start_time_ms = coalesce(start_time_ms, ?2)
WHERE id = ?1 AND status IN ('ASSIGNED', 'RUNNING')
