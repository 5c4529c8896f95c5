-- The changes of one log entry: what watchers follow. ?1 is the entry's index.
INSERT INTO event_log (log_index, time_ms, body) VALUES (?1, ?2, ?3)
