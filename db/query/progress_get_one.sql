-- What is known of the progress of one task, and what is demanded of it; no row if there is
-- neither. As progress_get, which has to unpack an array. "0 +" keeps SQLite from preparing it
-- anew for each value. Primary keys.
SELECT t.seq, t.attempt, t.start_time_ms, t.no_progress_timeout_ms, g.time_ms, g.done, g.total, g.message
FROM tasks t
LEFT JOIN attempt_progress g ON g.seq = t.seq AND g.attempt = t.attempt
WHERE t.seq = 0 + ?1 AND (t.no_progress_timeout_ms IS NOT NULL OR g.seq IS NOT NULL)
