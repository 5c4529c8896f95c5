-- Takes the settings of a queue away, unless tasks of it wait or run. Primary key;
-- tasks_pending by queue, and the two small partial indexes.
DELETE FROM queues
WHERE name = ?1
  AND NOT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_pending WHERE status = 'PENDING' AND retry_time_ms IS NULL AND queue = ?1)
  AND NOT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_retry WHERE retry_time_ms IS NOT NULL AND queue = ?1)
  AND NOT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_on_node WHERE status IN ('ASSIGNED', 'RUNNING') AND queue = ?1)
