-- Nobody holds a device in a state that was restored.
UPDATE node_gpus SET task_seq = NULL WHERE task_seq IS NOT NULL
