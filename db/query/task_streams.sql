-- Which queues and classes have pending tasks: read once, by a new leader. Index:
-- tasks_pending, which covers it.
SELECT queue, class_id FROM tasks INDEXED BY tasks_pending
WHERE status = 'PENDING' AND retry_time_ms IS NULL GROUP BY queue, class_id ORDER BY queue, class_id
