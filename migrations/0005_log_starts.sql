-- Where the kept log of an attempt begins, in bytes of its whole log. Attempts whose
-- log is kept from its beginning have no row.
CREATE TABLE log_starts (
  seq        INTEGER NOT NULL,
  attempt    INTEGER NOT NULL,
  log_offset INTEGER NOT NULL,
  PRIMARY KEY (seq, attempt)
) STRICT, WITHOUT ROWID;
