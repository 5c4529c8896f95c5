-- The next pending tasks of one stream, in the order in which they are to be placed,
-- after (?3 priority, ?4 seq); of one priority only if ?5 is that, of all if it is
-- the lowest number. Index: tasks_pending, walked in order.
SELECT seq, id, priority, create_time_ms, attempt, failed_attempts, lost_attempts, max_attempts, max_lost_attempts, retry_policy
FROM tasks INDEXED BY tasks_pending
WHERE status = 'PENDING' AND retry_time_ms IS NULL AND queue = CAST(?1 AS TEXT) AND class_id = 0 + ?2
  AND concurrency_key IS CAST(?7 AS TEXT) AND max_concurrency IS 0 + ?8
  AND priority <= 0 + ?3 AND (priority < 0 + ?3 OR seq > 0 + ?4) AND priority >= 0 + ?5
ORDER BY priority DESC, seq LIMIT 0 + ?6
