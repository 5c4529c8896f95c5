-- Lets a task that waited for its retry be placed again.
UPDATE tasks SET retry_time_ms = NULL WHERE seq = ?1 AND status = 'PENDING' AND retry_time_ms IS NOT NULL
