-- How many of at most ?1 deleted tasks no change that is kept tells of any more.
-- Index: pruned_tasks_ended.
SELECT count(*) FROM (
  SELECT 1 FROM pruned_tasks INDEXED BY pruned_tasks_ended
  WHERE end_time_ms < coalesce((SELECT time_ms FROM event_log ORDER BY log_index LIMIT 1), 9223372036854775807)
  LIMIT 0 + ?1)
