// Package crashtest holds tests of the engine that lose power: members run on a disk
// (internal/crashfs) that keeps only what was synced, and start again on what is left
// at every fsync. There is no code outside the tests.
package crashtest
