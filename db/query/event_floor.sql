-- The cursor behind the last change that was pruned.
SELECT log_index, ordinal FROM event_floor WHERE id = 1
