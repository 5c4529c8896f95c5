-- The id of the task that was submitted with a key. Index: tasks_request.
SELECT id FROM tasks WHERE request_id = CAST(?1 AS TEXT)
