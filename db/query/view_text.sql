-- The text of the view ?1.
SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = ?1
