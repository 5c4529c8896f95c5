// Package difftest holds tests that run the same entries of the log through the embedded
// engine and, statement by statement, through a real rqlited, which is SQLite in C behind
// another implementation of Raft, and compare what both say and what both then hold.
// There is no code outside the tests.
package difftest
