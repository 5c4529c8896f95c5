-- Of the ?3 oldest entries with changes, the last whose index is at most ?1 or whose
-- time is before ?2 (times rise with the index), and how many there are. Primary key;
-- SQLite takes a bare column from the row of the maximum.
SELECT max(log_index), json_array_length(body), count(*)
FROM (SELECT log_index, time_ms, body FROM event_log ORDER BY log_index LIMIT 0 + ?3)
WHERE log_index <= ?1 OR time_ms < ?2
HAVING count(*) > 0
