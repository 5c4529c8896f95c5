-- Counts a session that was replaced while it ran tasks as a lapse of its node.
UPDATE nodes SET lapses = ?2, lapse_time_ms = ?3, probation_end_time_ms = NULL WHERE id = ?1
