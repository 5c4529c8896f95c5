-- Asks the node of a running task to stop its attempt ?2.
UPDATE tasks SET cancel_requested = 1 WHERE id = ?1 AND attempt = ?2 AND status = 'RUNNING' AND cancel_requested = 0
