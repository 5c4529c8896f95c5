-- Takes a node for heard again that was not, in its session ?2 (any if NULL).
UPDATE nodes SET status = 'HEALTHY' WHERE id = ?1 AND status <> 'HEALTHY' AND session_id = coalesce(?2, session_id)
