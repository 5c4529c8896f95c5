-- Records a migration; it runs only if it was not recorded before.
INSERT INTO schema_migrations (version, name, time_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING
