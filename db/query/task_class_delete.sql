-- Forgets a set of requirements that no task has. Primary key.
DELETE FROM task_classes WHERE id = ?1
