-- How long each attempt of a task that was just stored may go without progress.
UPDATE tasks SET no_progress_timeout_ms = ?2 WHERE seq = ?1
