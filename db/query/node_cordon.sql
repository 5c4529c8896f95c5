-- Cordons a node.
UPDATE nodes SET schedulable = 0 WHERE id = ?1
