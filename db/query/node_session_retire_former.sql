-- Retires the session of the node ?1 that the session ?2 is about to replace, unless
-- ?2 was replaced itself.
INSERT INTO node_sessions (session_id, node_id, replaced_time_ms)
SELECT session_id, id, ?3 FROM nodes
WHERE id = ?1 AND session_id <> ?2 AND NOT EXISTS (SELECT 1 FROM node_sessions WHERE session_id = ?2)
ON CONFLICT DO NOTHING
