-- Notes when the machine of a node's session ?2 is taken away.
UPDATE nodes SET terminating_time_ms = ?3 WHERE id = ?1 AND session_id = ?2
