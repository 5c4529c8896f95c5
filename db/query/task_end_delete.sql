-- Forgets that the task ?2 has ended: it was tried again. Primary key.
DELETE FROM task_ends WHERE number = ?1 AND seq = ?2
