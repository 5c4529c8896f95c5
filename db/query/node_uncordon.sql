-- Lets a node have tasks again: no cordon, no drain, nothing held against it.
UPDATE nodes
SET schedulable = 1, drain_time_ms = NULL, drain_deadline_time_ms = NULL, drain_tasks = NULL,
    lapses = 0, lapse_time_ms = NULL, probation_end_time_ms = NULL
WHERE id = ?1
