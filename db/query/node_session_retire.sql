-- Remembers a session that was replaced, so that it cannot take over again.
INSERT INTO node_sessions (session_id, node_id, replaced_time_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING
