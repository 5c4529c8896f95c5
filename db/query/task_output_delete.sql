-- Deletes what the last attempt of a task left. Primary key.
DELETE FROM task_outputs WHERE seq = ?1
