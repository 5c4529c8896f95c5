-- How many pending tasks of the queue ?1 come before one of the priority ?2 and the key
-- ?3, submitted at ?5, where a wait of ?4 ms makes up for one priority. Index:
-- tasks_pending; it has to look at each of them.
SELECT count(*) FROM tasks INDEXED BY tasks_pending
WHERE status = 'PENDING' AND retry_time_ms IS NULL AND queue = ?1
  AND (priority * ?4 - create_time_ms > ?2 * ?4 - ?5 OR priority * ?4 - create_time_ms = ?2 * ?4 - ?5 AND seq < ?3)
