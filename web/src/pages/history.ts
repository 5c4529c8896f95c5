// The changes of one task. Changes have no index by task, but they are in the order of
// time: where the task's life begins and ends in the log is found by halving, so that
// what was before and after is not read.

// halve finds the first log entry for which the condition on its time no longer holds.
function halve(name: string, condition: string): string {
  const before = `coalesce((SELECT time_ms FROM event_log WHERE log_index >= (lo + hi) / 2 ORDER BY log_index LIMIT 1) ${condition}, 0)`;
  return `${name}(lo, hi) AS (
    SELECT (SELECT min(log_index) FROM event_log), (SELECT max(log_index) + 1 FROM event_log) -- each by the key
    UNION ALL
    SELECT iif(${before}, (lo + hi) / 2 + 1, lo), iif(${before}, hi, (lo + hi) / 2) FROM ${name} WHERE lo < hi
  )`;
}

export const historySql = `WITH RECURSIVE
  task AS (SELECT seq, create_time_ms AS begun, coalesce(end_time_ms, 1 << 52) AS ended FROM tasks WHERE id = ?1),
  ${halve("early", "< (SELECT begun FROM task)")},
  ${halve("late", "<= (SELECT ended FROM task)")}
SELECT log_index, ordinal, time_ms, type, attempt, node_id, reason FROM events
WHERE log_index >= (SELECT lo FROM early WHERE lo >= hi) AND log_index <= (SELECT lo FROM late WHERE lo >= hi)
  AND task_seq = (SELECT seq FROM task)
ORDER BY log_index, ordinal LIMIT 500`;
