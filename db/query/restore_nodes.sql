-- The nodes of a state that was restored are not known to live until they are heard.
UPDATE nodes SET status = 'UNKNOWN', renewal = renewal + 1, polling = 0
