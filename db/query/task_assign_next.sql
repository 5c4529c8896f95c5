-- Gives a pending task to a node that an operation before in the entry has looked at, which
-- this one needs: task_assign without the look. Primary key.
UPDATE tasks
SET status = ?3, node_id = ?2, attempt = attempt + 1, assign_time_ms = ?4, start_time_ms = ?5,
    gpu_devices = ?6, queue_deadline_ms = iif(?3 = 'RUNNING', NULL, queue_deadline_ms), exit_code = NULL, error = NULL
WHERE seq = ?1 AND status = 'PENDING' AND attempt = ?7
