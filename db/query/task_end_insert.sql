-- Notes the ?1 tasks ?2, a JSON array of seqs, that an entry has ended. Primary key.
INSERT INTO task_end_groups (number, seqs)
VALUES (?1 + coalesce((SELECT number FROM task_end_groups ORDER BY number DESC LIMIT 1), 0), ?2)
