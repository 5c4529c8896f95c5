-- Keeps the result of the task with the id ?1.
INSERT INTO task_outputs (seq, result) SELECT seq, ?2 FROM tasks WHERE id = ?1
ON CONFLICT (seq) DO UPDATE SET result = excluded.result
