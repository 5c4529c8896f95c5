-- All sets of requirements.
SELECT id, cpu_millis, memory_bytes, disk_bytes, gpus, custom, function, constraints FROM task_classes ORDER BY id
