-- Gives the pending task ?1, whose last attempt was ?4, to the node ?2 if it is
-- healthy, takes tasks and has room for it: the one-at-a-time form, which looks the
-- room up itself. GPUs are not for it: which device is taken is the scheduler's
-- decision.
UPDATE tasks
SET status = 'ASSIGNED', node_id = ?2, attempt = attempt + 1, assign_time_ms = ?3, start_time_ms = NULL,
    retry_time_ms = NULL, exit_code = NULL, error = NULL
WHERE id = ?1 AND status = 'PENDING' AND attempt = ?4
  AND EXISTS (
    SELECT 1 FROM v_node_load n, task_classes c
    WHERE n.node_id = ?2 AND n.status = 'HEALTHY' AND n.schedulable = 1 AND c.id = tasks.class_id
      AND n.running_tasks < n.slots
      AND n.reserved_cpu_millis + c.cpu_millis <= n.cpu_millis
      AND n.reserved_memory_bytes + c.memory_bytes <= n.memory_bytes
      AND c.gpus = 0
      AND iif(c.function = '', n.exec, EXISTS (SELECT 1 FROM json_each(n.functions) WHERE value = c.function)))
