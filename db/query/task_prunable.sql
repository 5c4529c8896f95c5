-- The tasks that ended first, ?3 or up to 31 more, by their number, which several that one
-- entry has ended share: the number, how many those are, about how many bytes they have,
-- and whether the number is at most ?1 or all ended before ?2. Primary keys.
SELECT e.number, count(*), sum(coalesce(length(i.payload), 0) + coalesce(length(o.result), 0) + coalesce(length(o.log_tail), 0)),
       min(e.number <= ?1 OR coalesce(t.end_time_ms < ?2, 1))
FROM task_ends e
LEFT JOIN tasks t ON t.seq = e.seq
LEFT JOIN task_inputs i ON i.seq = e.seq
LEFT JOIN task_outputs o ON o.seq = e.seq
WHERE e.number <= (SELECT max(number) FROM (SELECT number FROM task_ends ORDER BY number LIMIT 0 + ?3))
GROUP BY e.number ORDER BY e.number
