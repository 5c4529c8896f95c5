-- Keeps what a task does beside its row. Runs only if the task was stored.
INSERT INTO task_inputs (seq, exec, function, payload) VALUES (?1, ?2, ?3, ?4)
