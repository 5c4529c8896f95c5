-- One row once the migration has run here by which progress can be kept.
SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'attempt_progress'
