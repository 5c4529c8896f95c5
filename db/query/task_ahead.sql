-- How many pending tasks of the queue ?1 come before one of the priority ?2 and the
-- key ?3. Index: tasks_pending.
SELECT count(*) FROM tasks INDEXED BY tasks_pending
WHERE status = 'PENDING' AND retry_time_ms IS NULL AND queue = ?1 AND (priority > ?2 OR priority = ?2 AND seq < ?3)
