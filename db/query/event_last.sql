-- The newest entry with changes.
SELECT log_index, json_array_length(body) FROM event_log ORDER BY log_index DESC LIMIT 1
