-- Is task_insert for a task that waits to be placed and has neither a request_id nor
-- anything that says when, how often or beside which others it runs: what is not named
-- here is what it would be there. Most tasks are such, and each parameter is written to
-- the log and bound.
INSERT INTO tasks (seq, id, name, queue, priority, labels, class_id, timeout_ms, max_attempts, max_lost_attempts,
                   status, attempt, create_time_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'PENDING', 0, ?11)
ON CONFLICT DO NOTHING
