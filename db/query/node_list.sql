-- Nodes after the id ?1, by id; ?2 is a JSON array of statuses, NULL for all.
SELECT n.id, n.session_id, n.status, n.schedulable, n.renewal, n.slots, n.cpu_millis, n.memory_bytes, n.disk_bytes, n.gpus, n.custom, n.exec,
       n.functions, n.labels, n.provider, n.region, n.zone, n.instance_type, n.version, n.spot, n.price_micros_per_hour,
       n.used_cpu_millis, n.used_memory_bytes, n.create_time_ms, n.heartbeat_time_ms,
       n.polling, n.drain_time_ms, n.drain_deadline_time_ms, n.drain_tasks, n.terminating_time_ms,
       n.lapses, n.lapse_time_ms, n.probation_end_time_ms,
       (SELECT count(*) FROM tasks t WHERE t.node_id = n.id AND t.status IN ('ASSIGNED', 'RUNNING')) AS running_tasks,
       (SELECT json_array(coalesce(sum(c.cpu_millis), 0), coalesce(sum(c.memory_bytes), 0), coalesce(sum(c.disk_bytes), 0), coalesce(sum(c.gpus), 0))
        FROM tasks t JOIN task_classes c ON c.id = t.class_id
        WHERE t.node_id = n.id AND t.status IN ('ASSIGNED', 'RUNNING')) AS reserved,
       (SELECT json_group_object(key, needed)
        FROM (SELECT j.key, sum(j.value) AS needed FROM tasks t JOIN task_classes c ON c.id = t.class_id, json_each(c.custom) j
              WHERE t.node_id = n.id AND t.status IN ('ASSIGNED', 'RUNNING') GROUP BY j.key)) AS reserved_custom,
       (SELECT json_group_array(json_object('index', g.device_index, 'model', g.model, 'memory_bytes', g.memory_bytes, 'uuid', coalesce(g.uuid, '')))
        FROM (SELECT * FROM node_gpus WHERE node_id = n.id ORDER BY device_index) g) AS gpu_devices
FROM nodes n
WHERE n.id > ?1 AND (?2 IS NULL OR n.status IN (SELECT value FROM json_each(?2)))
ORDER BY n.id LIMIT 0 + ?3
