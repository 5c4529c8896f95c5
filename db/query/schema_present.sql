-- One row once the first migration has run here.
SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'tasks'
