-- Gives the pending task ?1, whose last attempt was ?4, to the node ?2 if that will do
-- and has room for it: the one-at-a-time form, which looks that up itself. GPUs are not
-- for it: which device is taken is the scheduler's decision.
UPDATE tasks
SET status = 'ASSIGNED', node_id = ?2, attempt = attempt + 1, assign_time_ms = ?3, start_time_ms = NULL,
    retry_time_ms = NULL, exit_code = NULL, error = NULL
WHERE id = ?1 AND status = 'PENDING' AND attempt = ?4
  AND EXISTS (SELECT 1 FROM task_classes c WHERE c.id = tasks.class_id AND c.gpus = 0)
  AND EXISTS (SELECT 1 FROM v_candidates WHERE class_id = tasks.class_id AND node_id = ?2)
