-- Gives a free device to a task.
UPDATE node_gpus SET task_seq = ?3 WHERE node_id = ?1 AND device_index = ?2 AND task_seq IS NULL
