-- The ageing interval of the queue ?1. Primary key.
SELECT coalesce(ageing_interval_ms, 0) FROM queues WHERE name = CAST(?1 AS TEXT)
