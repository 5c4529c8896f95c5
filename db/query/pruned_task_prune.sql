-- Forgets at most ?1 deleted tasks of which no change that is kept tells any more.
-- Index: pruned_tasks_ended.
DELETE FROM pruned_tasks WHERE seq IN (
  SELECT seq FROM pruned_tasks INDEXED BY pruned_tasks_ended
  WHERE end_time_ms < coalesce((SELECT time_ms FROM event_log ORDER BY log_index LIMIT 1), 9223372036854775807)
  ORDER BY end_time_ms, seq LIMIT 0 + ?1)
