-- Deletes the tasks that ended with a number of at most ?1. Primary keys.
DELETE FROM tasks WHERE seq IN (SELECT seq FROM task_ends WHERE number <= ?1) AND end_time_ms IS NOT NULL
