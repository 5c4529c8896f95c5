-- Attempt ?2 of a task, its present or last one if that is 0, with what is kept of its log
-- once it has ended. Indexes: tasks' id, past_attempts' and task_outputs' key.
SELECT t.seq, t.status, t.attempt, iif(0 + ?2 = 0, t.attempt, 0 + ?2),
       coalesce(p.status, iif(0 + ?2 IN (0, t.attempt) AND t.attempt > 0 AND t.status <> 'PENDING', t.status, NULL)),
       coalesce(p.node_id, iif(0 + ?2 IN (0, t.attempt) AND t.status <> 'PENDING', t.node_id, NULL)),
       iif(p.seq IS NOT NULL, p.log_tail, iif(0 + ?2 IN (0, t.attempt) AND t.end_time_ms IS NOT NULL, o.log_tail, NULL))
FROM tasks t
LEFT JOIN past_attempts p ON p.seq = t.seq AND p.attempt = iif(0 + ?2 = 0, t.attempt, 0 + ?2)
LEFT JOIN task_outputs o ON o.seq = t.seq
WHERE t.id = CAST(?1 AS TEXT)
