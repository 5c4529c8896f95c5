-- The number of the task that ended last.
SELECT coalesce((SELECT number FROM task_ends ORDER BY number DESC LIMIT 1), 0)
