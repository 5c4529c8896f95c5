-- Remembers up to which change those before were pruned; it never goes back.
UPDATE event_floor SET log_index = ?1, ordinal = ?2 WHERE id = 1 AND log_index < ?1
