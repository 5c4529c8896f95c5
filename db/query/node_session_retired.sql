-- Whether a session was replaced. Primary key.
SELECT 1 FROM node_sessions WHERE session_id = ?1
