-- Entries with changes from ?1 on, in order. Primary key.
SELECT log_index, time_ms, body FROM event_log WHERE log_index >= ?1 ORDER BY log_index LIMIT 0 + ?2
