-- Where migrations are recorded.
CREATE TABLE IF NOT EXISTS schema_migrations (
  version INTEGER PRIMARY KEY,
  name    TEXT    NOT NULL,
  time_ms INTEGER NOT NULL
) STRICT
