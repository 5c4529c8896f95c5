-- Renews the lease of the present session. NULL leaves what was measured as it is.
UPDATE nodes
SET renewal = renewal + 1, status = 'HEALTHY', heartbeat_time_ms = ?3,
    used_cpu_millis = coalesce(?4, used_cpu_millis), used_memory_bytes = coalesce(?5, used_memory_bytes),
    used_tasks = coalesce(?6, used_tasks)
WHERE id = ?1 AND session_id = ?2
