-- Lets a lease lapse, unless it was renewed after the renewal that the leader saw last.
UPDATE nodes SET status = 'UNHEALTHY', lapses = ?3, lapse_time_ms = ?4, probation_end_time_ms = NULL
WHERE id = ?1 AND renewal = ?2 AND status = 'HEALTHY'
