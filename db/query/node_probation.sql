-- Holds a node back that lapses too often, until ?2; NULL ends that.
UPDATE nodes SET probation_end_time_ms = ?2 WHERE id = ?1
