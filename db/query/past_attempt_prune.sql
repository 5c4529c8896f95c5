-- Deletes the earlier attempts of the tasks that were just deleted. Primary keys.
DELETE FROM past_attempts WHERE seq IN (
  SELECT e.seq FROM task_ends e WHERE e.number <= ?1 AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.seq = e.seq))
