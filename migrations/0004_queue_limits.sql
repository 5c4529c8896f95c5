-- Limits of queues on disk and on what has names of its own, and these in the shares.
ALTER TABLE queues ADD COLUMN max_disk_bytes INTEGER;
ALTER TABLE queues ADD COLUMN max_custom TEXT;      -- JSON object: at most how many of what, by name

-- What the tasks of each queue hold of what nodes have under other names, and how much
-- of it the healthy nodes have.
CREATE VIEW v_queue_custom AS
WITH held AS (
  SELECT t.queue, j.key AS resource, sum(j.value) AS used
  FROM tasks t INDEXED BY tasks_on_node JOIN task_classes c ON c.id = t.class_id AND c.custom <> '{}', json_each(c.custom) j
  WHERE t.status IN ('ASSIGNED', 'RUNNING') GROUP BY t.queue, j.key
), fleet AS (
  SELECT j.key AS resource, sum(j.value) AS total FROM nodes n, json_each(n.custom) j WHERE n.status = 'HEALTHY' GROUP BY j.key
)
SELECT h.queue AS name, CAST(h.resource AS TEXT) AS resource, h.used, coalesce(f.total, 0) AS total FROM held h LEFT JOIN fleet f ON f.resource = h.resource;

DROP VIEW v_queues;

-- The queues that have settings or live tasks, with what their tasks hold. The
-- dominant share is the largest part of any resource of the healthy nodes.
CREATE VIEW v_queues AS
WITH fleet AS (
  SELECT max(sum(slots), 1) AS slots, max(sum(cpu_millis), 1) AS cpu_millis, max(sum(memory_bytes), 1) AS memory_bytes,
         max(sum(disk_bytes), 1) AS disk_bytes, max(sum(gpus), 1) AS gpus
  FROM nodes WHERE status = 'HEALTHY'
), held AS (
  SELECT t.queue, count(*) AS tasks, sum(c.cpu_millis) AS cpu_millis, sum(c.memory_bytes) AS memory_bytes, sum(c.disk_bytes) AS disk_bytes, sum(c.gpus) AS gpus
  FROM tasks t INDEXED BY tasks_on_node JOIN task_classes c ON c.id = t.class_id
  WHERE t.status IN ('ASSIGNED', 'RUNNING') GROUP BY t.queue
), custom AS (
  SELECT name, max(1.0 * used / max(total, 1)) AS share FROM v_queue_custom GROUP BY name
), waiting AS (
  SELECT queue, sum(tasks) AS tasks FROM (
    SELECT queue, count(*) AS tasks FROM tasks INDEXED BY tasks_pending WHERE status = 'PENDING' AND retry_time_ms IS NULL GROUP BY queue
    UNION ALL
    SELECT queue, count(*) FROM tasks INDEXED BY tasks_retry WHERE retry_time_ms IS NOT NULL GROUP BY queue)
  GROUP BY queue
)
SELECT n.name, coalesce(q.weight, 1) AS weight, coalesce(q.paused, 0) AS paused,
       q.max_tasks, q.max_cpu_millis, q.max_memory_bytes, q.max_gpus,
       coalesce(q.placement, 'SPREAD') AS placement, q.ageing_interval_ms, q.name IS NULL AS implicit,
       coalesce(w.tasks, 0) AS pending_tasks, coalesce(h.tasks, 0) AS running_tasks,
       coalesce(h.cpu_millis, 0) AS used_cpu_millis, coalesce(h.memory_bytes, 0) AS used_memory_bytes, coalesce(h.gpus, 0) AS used_gpus,
       coalesce(CAST(1e6 * max(1.0 * h.tasks / f.slots, 1.0 * h.cpu_millis / f.cpu_millis, 1.0 * h.memory_bytes / f.memory_bytes, 1.0 * h.disk_bytes / f.disk_bytes,
         1.0 * h.gpus / f.gpus, coalesce(c.share, 0.0)) AS INTEGER), 0)
         AS dominant_share_millionths,
       q.create_time_ms, q.update_time_ms,
       q.max_disk_bytes, q.max_custom, coalesce(h.disk_bytes, 0) AS used_disk_bytes
FROM (SELECT name FROM queues UNION SELECT queue FROM held UNION SELECT queue FROM waiting) n
JOIN fleet f
LEFT JOIN queues q ON q.name = n.name LEFT JOIN held h ON h.queue = n.name LEFT JOIN waiting w ON w.queue = n.name
LEFT JOIN custom c ON c.name = n.name;
