-- What is to be cleared away when the task ?1, which ended at ?3, is tried again: the
-- number of its end, and whether its last attempt ?2 was archived. Ends are numbered in
-- the order of time, so that the first of that time is found by halving. Primary keys;
-- only if that finds none are all of task_ends looked through: an index for this alone
-- would cost each task a write.
WITH RECURSIVE search (earlier, step) AS ( -- what comes first from the number earlier on has ended before ?3
  SELECT 0, 1 << 50
  UNION ALL
  SELECT earlier + iif((
      SELECT t.end_time_ms < 0 + ?3 FROM task_ends e JOIN tasks t ON t.seq = e.seq
      WHERE e.number >= earlier + step ORDER BY e.number LIMIT 1), step, 0), step / 2
  FROM search WHERE step > 0
)
SELECT coalesce(
         (SELECT number FROM task_ends WHERE number > (SELECT earlier FROM search WHERE step = 0) AND seq = 0 + ?1 ORDER BY number LIMIT 1),
         (SELECT number FROM task_ends WHERE seq = 0 + ?1 ORDER BY number LIMIT 1)),
       EXISTS (SELECT 1 FROM past_attempts WHERE seq = 0 + ?1 AND attempt = 0 + ?2)
