-- Migrations applied so far.
SELECT version FROM schema_migrations ORDER BY version
