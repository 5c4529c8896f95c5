-- The names of deleted tasks of a JSON array of seqs, for their events. Primary key.
SELECT p.seq, p.id, p.queue FROM json_each(?1) j JOIN pruned_tasks p ON p.seq = j.value ORDER BY p.seq
