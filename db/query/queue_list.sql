-- The queues that have settings or live tasks, by name, after ?1.
SELECT name, weight, paused, max_tasks, max_cpu_millis, max_memory_bytes, max_gpus, placement, ageing_interval_ms, implicit,
       pending_tasks, running_tasks, used_cpu_millis, used_memory_bytes, used_gpus, dominant_share_millionths, create_time_ms, update_time_ms
       /*+*/, max_disk_bytes, max_custom, used_disk_bytes, used_custom/*-*/
FROM v_queues q /*+*/LEFT JOIN (
  SELECT name AS queue, json_group_object(resource, used ORDER BY resource) AS used_custom FROM v_queue_custom GROUP BY name) ON queue = q.name/*-*/
WHERE q.name > ?1 ORDER BY name LIMIT 0 + ?2
