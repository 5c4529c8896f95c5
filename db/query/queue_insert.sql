-- Gives settings to a queue that has none, as long as there are fewer than ?11 such
-- queues. Primary key.
INSERT INTO queues (name, weight, paused, max_tasks, max_cpu_millis, max_memory_bytes, max_gpus, placement, ageing_interval_ms,
                    create_time_ms, update_time_ms/*+*/, max_disk_bytes, max_custom/*-*/)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10/*+*/, ?12, ?13/*-*/ WHERE (SELECT count(*) FROM queues) < ?11
ON CONFLICT DO NOTHING
