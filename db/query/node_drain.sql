-- Begins to drain a node that holds ?4 tasks, or moves the deadline ?3 of its drain.
UPDATE nodes
SET schedulable = 0, drain_time_ms = coalesce(drain_time_ms, ?2), drain_deadline_time_ms = ?3, drain_tasks = coalesce(drain_tasks, ?4)
WHERE id = ?1
