-- What is to be cleared away when the ended task ?1 is tried again: the number of its
-- end, and whether its last attempt ?2 was archived. Reads task_ends from its
-- beginning: an index for this alone would cost each task a write.
SELECT (SELECT number FROM task_ends WHERE seq = 0 + ?1 ORDER BY number DESC LIMIT 1),
       EXISTS (SELECT 1 FROM past_attempts WHERE seq = 0 + ?1 AND attempt = 0 + ?2)
