-- Notes how far the present attempt of a running task has come. Primary keys.
INSERT INTO attempt_progress (seq, attempt, done, total, message, time_ms)
SELECT seq, attempt, ?3, ?4, ?5, ?6 FROM tasks WHERE seq = 0 + ?1 AND attempt = 0 + ?2 AND status = 'RUNNING'
ON CONFLICT (seq, attempt) DO UPDATE
SET done = excluded.done, total = excluded.total, message = excluded.message, time_ms = excluded.time_ms
