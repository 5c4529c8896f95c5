-- Forgets that the task ?2 has ended: it was tried again. Primary key.
UPDATE task_end_groups SET seqs = (SELECT json_group_array(value) FROM json_each(seqs) WHERE value <> ?2) WHERE number = ?1
