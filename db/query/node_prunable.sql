-- At most ?2 nodes whose lease has lapsed, or that were not heard since a restore, before
-- ?1, and that nobody has cordoned or drained. All nodes are looked through.
SELECT n.id, n.renewal FROM nodes n
WHERE n.status <> 'HEALTHY' AND n.schedulable = 1 AND max(n.heartbeat_time_ms, coalesce(n.lapse_time_ms, 0)) < ?1
  AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.node_id = n.id AND t.status IN ('ASSIGNED', 'RUNNING'))
ORDER BY n.id LIMIT 0 + ?2
