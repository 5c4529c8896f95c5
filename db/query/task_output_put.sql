-- Keeps what the last attempt left.
INSERT INTO task_outputs (seq, result, log_tail) VALUES (?1, ?2, ?3)
ON CONFLICT (seq) DO UPDATE SET result = excluded.result, log_tail = excluded.log_tail
