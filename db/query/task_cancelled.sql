-- How the tasks of a JSON array of seqs stand. Primary key.
SELECT t.id, t.status, t.cancel_requested FROM json_each(?1) j JOIN tasks t ON t.seq = j.value ORDER BY j.key
