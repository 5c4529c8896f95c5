-- The settings of all queues that have some: read once, by a new leader.
SELECT name, weight, paused, max_tasks, max_cpu_millis, max_memory_bytes, max_gpus, placement, ageing_interval_ms
FROM queues ORDER BY name
