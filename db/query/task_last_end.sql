-- The number of the task that ended last.
SELECT coalesce(max(number), 0) FROM task_ends
