-- The sets of requirements of the ?3 tasks after ?1 and before ?2, each with the
-- newest of them that has it. Primary key.
SELECT class_id, max(seq)
FROM (SELECT seq, class_id FROM tasks WHERE seq > ?1 AND seq < ?2 ORDER BY seq LIMIT 0 + ?3)
GROUP BY class_id ORDER BY class_id
