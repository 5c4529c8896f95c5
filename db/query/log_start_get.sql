-- Where the kept log of an attempt begins; no row if at its beginning. Primary key.
SELECT log_offset FROM log_starts WHERE seq = 0 + ?1 AND attempt = 0 + ?2
