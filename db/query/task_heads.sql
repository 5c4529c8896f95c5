-- The next pending tasks of one stream, in the order in which they are to be placed,
-- after (?3 priority, ?4 seq); of one priority only if ?5 is that, of all if it is
-- the lowest number. Index: tasks_pending, walked in order.
SELECT seq, id, priority, create_time_ms, attempt, failed_attempts, lost_attempts, max_attempts, max_lost_attempts, retry_policy
FROM tasks INDEXED BY tasks_pending
WHERE status = 'PENDING' AND retry_time_ms IS NULL AND queue = ?1 AND class_id = ?2
  AND concurrency_key IS ?7 AND max_concurrency IS ?8
  AND priority <= ?3 AND (priority < ?3 OR seq > ?4) AND priority >= ?5
ORDER BY priority DESC, seq LIMIT 0 + ?6
