-- Deletes where the logs of the tasks that were just deleted began. Primary keys.
DELETE FROM log_starts WHERE seq IN (
  SELECT e.seq FROM task_ends e WHERE e.number <= ?1 AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.seq = e.seq))
