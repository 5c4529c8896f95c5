-- The ?3 tasks that ended first: their numbers, about how many bytes each has, and
-- whether its number is at most ?1 or it ended before ?2. Primary keys.
SELECT e.number, coalesce(length(i.payload), 0) + coalesce(length(o.result), 0) + coalesce(length(o.log_tail), 0),
       e.number <= ?1 OR coalesce(t.end_time_ms < ?2, 1)
FROM (SELECT number, seq FROM task_ends ORDER BY number LIMIT 0 + ?3) e
LEFT JOIN tasks t ON t.seq = e.seq
LEFT JOIN task_inputs i ON i.seq = e.seq
LEFT JOIN task_outputs o ON o.seq = e.seq
ORDER BY e.number
