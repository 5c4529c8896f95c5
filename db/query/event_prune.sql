-- Deletes the changes up to an entry. Primary key.
DELETE FROM event_log WHERE log_index <= ?1
