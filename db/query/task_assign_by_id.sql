-- Gives the pending task ?1, whose last attempt was ?4, to the node ?2 if that will do
-- and has room for it, and the settings of its queue and its concurrency key allow it:
-- the one-at-a-time form, which looks all that up itself. GPUs are not for it: which
-- device is taken is the scheduler's decision.
UPDATE tasks
SET status = 'ASSIGNED', node_id = ?2, attempt = attempt + 1, assign_time_ms = ?3, start_time_ms = NULL,
    retry_time_ms = NULL, exit_code = NULL, error = NULL
WHERE id = CAST(?1 AS TEXT) AND status = 'PENDING' AND attempt = 0 + ?4
  AND EXISTS (SELECT 1 FROM task_classes c WHERE c.id = tasks.class_id AND c.gpus = 0)
  AND EXISTS (SELECT 1 FROM v_candidates WHERE class_id = tasks.class_id AND node_id = CAST(?2 AS TEXT))
  AND (tasks.concurrency_key IS NULL OR tasks.max_concurrency > (
    SELECT count(*) FROM tasks k INDEXED BY tasks_on_node
    WHERE k.status IN ('ASSIGNED', 'RUNNING') AND k.concurrency_key = tasks.concurrency_key))
  AND NOT EXISTS (
    SELECT 1 FROM queues q, task_classes c
    WHERE q.name = tasks.queue AND c.id = tasks.class_id AND (q.paused = 1 OR EXISTS (
      SELECT count(*) FROM tasks h INDEXED BY tasks_on_node JOIN task_classes hc ON hc.id = h.class_id
      WHERE h.status IN ('ASSIGNED', 'RUNNING') AND h.queue = q.name
      HAVING count(*) >= q.max_tasks
          OR coalesce(sum(hc.cpu_millis), 0) + c.cpu_millis > q.max_cpu_millis
          OR coalesce(sum(hc.memory_bytes), 0) + c.memory_bytes > q.max_memory_bytes
          /*+*/OR coalesce(sum(hc.disk_bytes), 0) + c.disk_bytes > q.max_disk_bytes
          OR EXISTS (
            SELECT 1 FROM json_each(c.custom) w JOIN json_each(q.max_custom) m ON m.key = w.key
            WHERE w.value + (
              SELECT coalesce(sum(j.value), 0)
              FROM tasks h2 INDEXED BY tasks_on_node JOIN task_classes hc2 ON hc2.id = h2.class_id, json_each(hc2.custom) j
              WHERE h2.status IN ('ASSIGNED', 'RUNNING') AND h2.queue = q.name AND j.key = w.key) > m.value)/*-*/)))
