-- The tasks of a JSON array of seqs, with what they do and without outputs. Primary key.
-- The trace context is as in task_get_before.
SELECT t.seq, t.id, t.request_id, t.name, t.queue, t.priority, t.labels, t.class_id, t.timeout_ms, t.max_attempts, t.max_lost_attempts,
       t.status, t.node_id, t.attempt, t.failed_attempts, t.lost_attempts, t.cancel_requested, t.gpu_devices,
       t.create_time_ms, t.assign_time_ms, t.start_time_ms, t.end_time_ms, t.retry_time_ms, t.exit_code, t.error,
       t.earliest_start_ms, t.queue_timeout_ms, t.retry_policy, t.concurrency_key, t.max_concurrency,
       c.cpu_millis, c.memory_bytes, c.disk_bytes, c.gpus, c.custom, c.constraints, c.function,
       i.exec, i.payload, NULL, NULL,
       (SELECT traceparent FROM task_inputs WHERE seq = t.seq), (SELECT tracestate FROM task_inputs WHERE seq = t.seq)
FROM (SELECT NULL AS traceparent, NULL AS tracestate) before_version_2
CROSS JOIN json_each(?1) j
JOIN tasks t ON t.seq = j.value
JOIN task_classes c ON c.id = t.class_id
LEFT JOIN task_inputs i ON i.seq = t.seq
ORDER BY j.key
