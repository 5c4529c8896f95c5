-- The tasks that have waited for their first start until their deadline, the earliest
-- first. Index: tasks_deadline.
SELECT queue, class_id, concurrency_key, max_concurrency, priority, seq, attempt, queue_timeout_ms
FROM tasks INDEXED BY tasks_deadline
WHERE status = 'PENDING' AND queue_deadline_ms IS NOT NULL AND queue_deadline_ms <= ?1
ORDER BY queue_deadline_ms, seq LIMIT 0 + ?2
