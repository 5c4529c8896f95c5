-- The nodes that may take a task of the class ?1, the most loaded first (see the view
-- v_candidates), those in a region that it prefers before others: the placement
-- BINPACK. Measured CPU, then memory, then the id break ties.
SELECT node_id, load FROM v_candidates
WHERE class_id = 0 + ?1
ORDER BY preferred DESC, load DESC, used_cpu_millis, used_memory_bytes, node_id LIMIT 0 + ?2
