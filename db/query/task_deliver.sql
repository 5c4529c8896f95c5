-- Marks an assigned task as fetched by its node.
UPDATE tasks SET status = 'RUNNING', start_time_ms = ?3, queue_deadline_ms = NULL
WHERE seq = ?1 AND attempt = ?2 AND status = 'ASSIGNED'
