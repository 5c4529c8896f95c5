-- Ends a task, if this is still its attempt and its node: the fence that makes a
-- recorded completion unique. ?7 is 1 when the attempt failed. OR FAIL: what can fail here
-- is looked at before anything is written; before migration 6 it spares a copy of each page
-- that this and a trigger change, to undo them.
UPDATE OR FAIL tasks
SET status = ?4, end_time_ms = ?5, exit_code = ?6, failed_attempts = failed_attempts + ?7, error = ?8,
    gpu_devices = NULL
WHERE seq = ?1 AND attempt = ?2 AND node_id = ?3 AND status IN ('ASSIGNED', 'RUNNING')
