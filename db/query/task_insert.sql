-- Stores a task, unless its id or request_id is taken. It may enter on a node at
-- once (?12 ASSIGNED or RUNNING) when that node waits for it, or wait for its start
-- (?19). Indexes: the unique ones on id and request_id refuse a repeat.
INSERT INTO tasks (seq, id, request_id, name, queue, priority, labels, class_id, timeout_ms,
                   max_attempts, max_lost_attempts, status, node_id, attempt, gpu_devices,
                   create_time_ms, assign_time_ms, start_time_ms, retry_time_ms, earliest_start_ms,
                   queue_timeout_ms, queue_deadline_ms, retry_policy, concurrency_key, max_concurrency)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)
ON CONFLICT DO NOTHING
