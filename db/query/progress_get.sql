-- What is known of the progress of the tasks of a JSON array of seqs, and what is
-- demanded of it; a row for each task that has either. Primary keys.
SELECT t.seq, t.attempt, t.start_time_ms, t.no_progress_timeout_ms, g.time_ms, g.done, g.total, g.message
FROM json_each(?1) j
JOIN tasks t ON t.seq = j.value
LEFT JOIN attempt_progress g ON g.seq = t.seq AND g.attempt = t.attempt
WHERE t.no_progress_timeout_ms IS NOT NULL OR g.seq IS NOT NULL
