-- How far the tasks of a JSON array of ids have come, those that say so. Index: the
-- unique one on tasks' id.
SELECT t.id, t.attempt, g.time_ms, g.done, g.total, g.message
FROM json_each(?1) j
JOIN tasks t ON t.id = j.value
JOIN attempt_progress g ON g.seq = t.seq AND g.attempt = t.attempt
