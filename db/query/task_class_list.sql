-- All sets of requirements.
SELECT id, cpu_millis, memory_bytes, gpus, function FROM task_classes ORDER BY id
