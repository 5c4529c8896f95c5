-- The settings of all queues that have some: read once, by a new leader.
SELECT name, weight, paused, max_tasks, max_cpu_millis, max_memory_bytes, max_gpus, placement, ageing_interval_ms/*+*/, max_disk_bytes, max_custom/*-*/
FROM queues ORDER BY name
