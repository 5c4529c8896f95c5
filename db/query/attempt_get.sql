-- One attempt and its task, to answer a repeated or late report.
SELECT t.status, t.attempt, t.node_id, a.status, a.node_id
FROM tasks t LEFT JOIN attempts a ON a.task_seq = t.seq AND a.attempt = ?2
WHERE t.id = ?1
