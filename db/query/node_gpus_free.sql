-- Takes the devices of a node back from a task.
UPDATE node_gpus SET task_seq = NULL WHERE node_id = ?1 AND task_seq = ?2
