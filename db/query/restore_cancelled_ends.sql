-- Notes that what was to be stopped when a backup was taken ends, before it does.
INSERT INTO task_end_groups (number, seqs)
SELECT (SELECT coalesce(max(number), 0) FROM task_end_groups) + row_number() OVER (ORDER BY seq), json_array(seq)
FROM tasks WHERE status IN ('ASSIGNED', 'RUNNING') AND cancel_requested = 1 ORDER BY seq
