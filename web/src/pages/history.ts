// The changes of one task. Changes have no index by task, but they are in the order of
// time: where the task's life begins and ends in the log is found by halving, so that
// what was before and after is not read.

export const historySql = `WITH RECURSIVE
  task AS (SELECT seq, create_time_ms AS begun, coalesce(end_time_ms, 1 << 52) AS ended FROM tasks WHERE id = ?1),
  lower(lo, hi) AS (
    SELECT (SELECT min(log_index) FROM event_log), (SELECT max(log_index) + 1 FROM event_log)
    UNION ALL
    SELECT iif(before, mid + 1, lo), iif(before, hi, mid) FROM (
      SELECT lo, hi, (lo + hi) / 2 AS mid,
             coalesce((SELECT time_ms FROM event_log WHERE log_index >= (lo + hi) / 2 ORDER BY log_index LIMIT 1) < (SELECT begun FROM task), 0) AS before
      FROM lower WHERE lo < hi)
  ),
  upper(lo, hi) AS (
    SELECT (SELECT min(log_index) FROM event_log), (SELECT max(log_index) + 1 FROM event_log)
    UNION ALL
    SELECT iif(before, mid + 1, lo), iif(before, hi, mid) FROM (
      SELECT lo, hi, (lo + hi) / 2 AS mid,
             coalesce((SELECT time_ms FROM event_log WHERE log_index >= (lo + hi) / 2 ORDER BY log_index LIMIT 1) <= (SELECT ended FROM task), 0) AS before
      FROM upper WHERE lo < hi)
  )
SELECT log_index, ordinal, time_ms, type, attempt, node_id, reason FROM events
WHERE log_index >= (SELECT max(lo) FROM lower) AND log_index <= (SELECT max(lo) FROM upper)
  AND task_seq = (SELECT seq FROM task)
ORDER BY log_index, ordinal LIMIT 500`;
