-- The highest key given so far, of tasks that are kept or are spoken of.
SELECT coalesce(max(seq), 0) FROM tasks
