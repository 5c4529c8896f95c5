-- All attempts that nodes hold: read once, by a new leader. Index: tasks_on_node.
SELECT queue, class_id, concurrency_key, max_concurrency, priority,
       seq, id, node_id, attempt, status, failed_attempts, lost_attempts, max_attempts, max_lost_attempts,
       cancel_requested, gpu_devices, retry_policy
FROM tasks INDEXED BY tasks_on_node WHERE status IN ('ASSIGNED', 'RUNNING') ORDER BY seq
