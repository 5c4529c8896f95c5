-- Gives a pending task to a node: the decision of the leader, checked again here.
-- ?3 is ASSIGNED, or RUNNING when the node's poll is waiting. Primary keys.
UPDATE tasks
SET status = ?3, node_id = ?2, attempt = attempt + 1, assign_time_ms = ?4, start_time_ms = ?5,
    gpu_devices = ?6, queue_deadline_ms = iif(?3 = 'RUNNING', NULL, queue_deadline_ms), exit_code = NULL, error = NULL
WHERE seq = ?1 AND status = 'PENDING' AND attempt = ?7
  AND EXISTS (SELECT 1 FROM nodes WHERE id = ?2 AND session_id = ?8 AND status = 'HEALTHY')
