-- Lets a lease lapse, unless it was renewed after the renewal that the leader saw last.
UPDATE nodes SET status = 'UNHEALTHY' WHERE id = ?1 AND renewal = ?2 AND status = 'HEALTHY'
