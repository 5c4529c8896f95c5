-- Notes whether the session ?2 of a node asks for work.
UPDATE nodes SET polling = ?3 WHERE id = ?1 AND session_id = ?2
