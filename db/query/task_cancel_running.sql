-- Asks the node of a running task to stop it.
UPDATE tasks SET cancel_requested = 1 WHERE id = ?1 AND status = 'RUNNING' AND cancel_requested = 0
