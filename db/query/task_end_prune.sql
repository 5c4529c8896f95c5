-- Forgets that the tasks ended that were just deleted. Primary key.
DELETE FROM task_ends WHERE number <= ?1
