-- Deletes the inputs of the tasks that were just deleted. Primary keys.
DELETE FROM task_inputs WHERE seq IN (
  SELECT e.seq FROM task_ends e WHERE e.number <= ?1 AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.seq = e.seq))
