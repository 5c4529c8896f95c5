-- One attempt and its task, to answer a repeated or late report. Indexes: tasks'
-- id, past_attempts' key. The view attempts says the same and would be read whole.
SELECT t.status, t.attempt, t.node_id,
       coalesce(p.status, iif(t.attempt = 0 + ?2 AND t.status <> 'PENDING', t.status, NULL)),
       coalesce(p.node_id, iif(t.attempt = 0 + ?2 AND t.status <> 'PENDING', t.node_id, NULL))
FROM tasks t LEFT JOIN past_attempts p ON p.seq = t.seq AND p.attempt = 0 + ?2
WHERE t.id = CAST(?1 AS TEXT)
