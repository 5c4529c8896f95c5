-- How far attempts have come, and how long they may go without coming further.

ALTER TABLE tasks ADD COLUMN no_progress_timeout_ms INTEGER;

-- The last progress of each attempt that has reported any. Beside the task's row,
-- because an update writes the whole row anew.
CREATE TABLE attempt_progress (
  seq     INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  done    INTEGER NOT NULL,                     -- in a unit of the task's own
  total   INTEGER NOT NULL,                     -- 0 if it is not known
  message TEXT,
  time_ms INTEGER NOT NULL,                     -- when it became known
  PRIMARY KEY (seq, attempt)
) STRICT, WITHOUT ROWID;

DROP VIEW attempts;

CREATE VIEW attempts AS
SELECT t.id AS task_id, p.attempt, p.node_id, p.status, p.assign_time_ms, p.start_time_ms, p.end_time_ms,
       p.exit_code, p.error, p.log_tail, p.seq AS task_seq,
       g.done AS progress_done, g.total AS progress_total, g.message AS progress_message, g.time_ms AS progress_time_ms,
       min(100, 100 * g.done / nullif(g.total, 0)) AS progress_percent
FROM past_attempts p JOIN tasks t ON t.seq = p.seq
LEFT JOIN attempt_progress g ON g.seq = p.seq AND g.attempt = p.attempt
UNION ALL
SELECT t.id, t.attempt, t.node_id, t.status, t.assign_time_ms, t.start_time_ms, t.end_time_ms,
       t.exit_code, t.error, o.log_tail, t.seq,
       g.done, g.total, g.message, g.time_ms, min(100, 100 * g.done / nullif(g.total, 0))
FROM tasks t LEFT JOIN task_outputs o ON o.seq = t.seq
LEFT JOIN attempt_progress g ON g.seq = t.seq AND g.attempt = t.attempt
WHERE t.attempt > 0 AND t.status <> 'PENDING'
  AND NOT EXISTS (SELECT 1 FROM past_attempts p WHERE p.seq = t.seq AND p.attempt = t.attempt);
