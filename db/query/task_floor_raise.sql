-- Remembers the highest seq of the tasks that are about to be deleted: those that
-- ended with a number of at most ?1.
UPDATE task_floor SET seq = max(seq, (SELECT max(seq) FROM task_ends WHERE number <= ?1))
WHERE id = 1 AND EXISTS (SELECT 1 FROM task_ends WHERE number <= ?1)
