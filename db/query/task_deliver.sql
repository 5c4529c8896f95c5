-- Marks an assigned task as fetched by its node.
UPDATE tasks SET status = 'RUNNING', start_time_ms = ?3
WHERE seq = ?1 AND attempt = ?2 AND status = 'ASSIGNED'
