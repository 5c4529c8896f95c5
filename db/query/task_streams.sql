-- Which streams have pending tasks, and of which priorities: read once, by a new
-- leader. Index: tasks_pending, which covers it.
SELECT queue, class_id, concurrency_key, max_concurrency, priority
FROM tasks INDEXED BY tasks_pending
WHERE status = 'PENDING' AND retry_time_ms IS NULL
GROUP BY queue, class_id, concurrency_key, max_concurrency, priority
ORDER BY queue, class_id, concurrency_key, max_concurrency, priority DESC
