-- The highest key given so far, of tasks that are kept or were deleted.
SELECT max(coalesce((SELECT max(seq) FROM tasks), 0), (SELECT seq FROM task_floor WHERE id = 1))
