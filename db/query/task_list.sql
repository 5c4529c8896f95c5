-- Tasks of any status, newest first: a walk down the primary key. A NULL parameter
-- selects all; ?1 is a JSON array of statuses, ?5 a JSON object of labels.
SELECT t.seq, t.id, t.request_id, t.name, t.queue, t.priority, t.labels, t.class_id, t.timeout_ms, t.max_attempts, t.max_lost_attempts,
       t.status, t.node_id, t.attempt, t.failed_attempts, t.lost_attempts, t.cancel_requested, t.gpu_devices,
       t.create_time_ms, t.assign_time_ms, t.start_time_ms, t.end_time_ms, t.retry_time_ms, t.exit_code, t.error,
       t.earliest_start_ms, t.queue_timeout_ms, t.retry_policy, t.concurrency_key, t.max_concurrency,
       c.cpu_millis, c.memory_bytes, c.disk_bytes, c.gpus, c.custom, c.constraints, c.function,
       NULL, NULL, NULL, NULL, NULL, NULL
FROM tasks t
JOIN task_classes c ON c.id = t.class_id
WHERE t.seq < ?6
  AND (?1 IS NULL OR t.status IN (SELECT value FROM json_each(?1)))
  AND (?2 IS NULL OR t.queue = ?2)
  AND (?3 IS NULL OR t.node_id = ?3)
  AND (?4 IS NULL OR t.name = ?4)
  AND (?5 IS NULL OR NOT EXISTS (
    SELECT 1 FROM json_each(?5) want
    WHERE NOT EXISTS (SELECT 1 FROM json_each(t.labels) have WHERE have.key = want.key AND have.value = want.value)))
ORDER BY t.seq DESC LIMIT 0 + ?7
