-- Interns a set of requirements under the id that the leader chose.
INSERT INTO task_classes (id, cpu_millis, memory_bytes, disk_bytes, gpus, custom, function, constraints)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT DO NOTHING
