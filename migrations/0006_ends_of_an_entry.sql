-- Tasks that have ended, in the order in which they did: a row for those that one log entry
-- has ended (in parts of 32) where there was one for each, which a trigger wrote: a
-- twentieth of what applying a task's life costs. The leader has entries note their ends.
DROP TRIGGER task_ended;
CREATE TABLE task_end_groups (
  number INTEGER PRIMARY KEY,                   -- how many have ended up to the last of them
  seqs   TEXT    NOT NULL                       -- JSON array of tasks.seq
) STRICT;
INSERT INTO task_end_groups (number, seqs) SELECT number, json_array(seq) FROM task_ends ORDER BY number;
DROP TABLE task_ends;

-- Each of them. The number of its row is also found first, by a join from left to right.
CREATE VIEW task_ends AS
SELECT g.number, 0 + j.value AS seq FROM task_end_groups g CROSS JOIN json_each(g.seqs) j;
