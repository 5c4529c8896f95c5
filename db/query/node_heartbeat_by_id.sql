-- Renews the lease of a node whatever its session: the one-at-a-time form.
UPDATE nodes
SET renewal = renewal + 1, status = 'HEALTHY', heartbeat_time_ms = ?2,
    used_cpu_millis = ?3, used_memory_bytes = ?4, used_tasks = ?5
WHERE id = ?1
