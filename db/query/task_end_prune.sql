-- Forgets that the tasks ended that were just deleted. Primary key.
DELETE FROM task_end_groups WHERE number <= ?1
