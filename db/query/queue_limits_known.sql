-- Whether queues have limits on disk and on custom resources: they came with a migration,
-- which may wait.
SELECT 1 FROM sqlite_schema WHERE name = 'v_queues' AND instr(sql, 'max_custom') > 0
