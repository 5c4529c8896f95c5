-- The next time until which a task may wait for its first start. Index: tasks_deadline.
SELECT min(queue_deadline_ms) FROM tasks INDEXED BY tasks_deadline
WHERE status = 'PENDING' AND queue_deadline_ms IS NOT NULL AND queue_deadline_ms > ?1
