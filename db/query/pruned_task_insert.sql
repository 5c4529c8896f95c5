-- Keeps the names of the tasks that are about to be deleted if changes that are kept
-- tell of them: the last is as old as the end. Primary keys.
INSERT INTO pruned_tasks (seq, id, queue, end_time_ms)
SELECT t.seq, t.id, t.queue, t.end_time_ms
FROM task_ends e CROSS JOIN tasks t ON t.seq = e.seq
WHERE e.number <= ?1 AND t.end_time_ms >= (SELECT time_ms FROM event_log ORDER BY log_index LIMIT 1)
ORDER BY t.seq
