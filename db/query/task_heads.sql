-- The next pending tasks of one queue and class, in the order in which they are to
-- be placed, after (?3 priority, ?4 seq). Index: tasks_pending, walked in order.
SELECT seq, id, priority, attempt, failed_attempts, lost_attempts, max_attempts, max_lost_attempts
FROM tasks INDEXED BY tasks_pending
WHERE status = 'PENDING' AND retry_time_ms IS NULL AND queue = ?1 AND class_id = ?2
  AND priority <= ?3 AND (priority < ?3 OR seq > ?4)
ORDER BY priority DESC, seq LIMIT 0 + ?5
