-- Interns a set of requirements under the id that the leader chose.
INSERT INTO task_classes (id, cpu_millis, memory_bytes, gpus, function) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO NOTHING
