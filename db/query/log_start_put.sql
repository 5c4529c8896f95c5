-- Notes where the kept log of an attempt begins. Primary key.
INSERT INTO log_starts (seq, attempt, log_offset) VALUES (?1, ?2, ?3)
ON CONFLICT (seq, attempt) DO UPDATE SET log_offset = excluded.log_offset
