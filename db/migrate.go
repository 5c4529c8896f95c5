package db

import (
	"context"
	"fmt"
	"time"

	"github.com/raft-control-plane/control-plane/migrations"
)

// SchemaSupport says which migrations the members' releases know.
type SchemaSupport struct {
	// Version is the newest that this member and all others that answered know.
	Version int
	// Behind says which others know less than this member, Silent which did not answer.
	Behind, Silent []string
}

// SchemaVersion is the newest migration that this release knows.
func SchemaVersion() int {
	all, err := migrations.All()
	if err != nil {
		panic(err) // a file of this release is misnamed: caught by any test
	}
	return len(all)
}

// SetMigrations replaces the migrations of this release, for tests of an upgrade.
// Call it before Run.
func (m *TaskManifest) SetMigrations(all []migrations.Migration) { m.migrations = all }

func (m *TaskManifest) knownMigrations() ([]migrations.Migration, error) {
	if m.migrations != nil {
		return m.migrations, nil
	}
	return migrations.All()
}

// migrate applies, through the log, the migrations that the state lacks, each in
// an entry of its own with the row that records it. Those that not all members know
// wait; it returns the first of them, 0 if none waits.
func (m *TaskManifest) migrate(ctx context.Context, term Term) (waiting int, err error) {
	all, err := m.knownMigrations()
	if err != nil {
		return 0, err
	}
	done, err := m.migrated(ctx, term)
	if err != nil {
		return 0, fmt.Errorf("migrate: %w", err)
	}
	if done > len(all) {
		return 0, fmt.Errorf("migrate: the state is at schema version %d and this release knows %d: upgrade this member", done, len(all))
	}
	m.schema.Store(int64(done))
	if done == len(all) {
		return 0, nil
	}
	upTo, why, err := m.migratable(ctx, done, len(all))
	if err != nil {
		return 0, fmt.Errorf("migrate: %w", err)
	}
	for _, mig := range all[done:upTo] {
		if err := m.applyMigration(ctx, term, mig); err != nil {
			return 0, fmt.Errorf("migrate to %d (%s): %w", mig.Version, mig.Name, err)
		}
		m.schema.Store(int64(mig.Version))
		m.log.Info("schema migrated", "version", mig.Version, "name", mig.Name)
	}
	if upTo == len(all) {
		return 0, nil
	}
	m.log.Warn("a migration waits until all members run a release that knows it", "version", upTo+1, "members", why)
	return upTo + 1, nil
}

// migratable returns up to which version the schema may be migrated from done, and
// why no further. The tables of a new cluster do not wait for members that are not
// there yet: each gets its state from the log.
func (m *TaskManifest) migratable(ctx context.Context, done, known int) (upTo int, why []string, err error) {
	s, err := m.engine.Schema(ctx)
	if err != nil {
		return done, nil, err
	}
	why = s.Behind
	if done > 0 && len(s.Silent) > 0 {
		for _, address := range s.Silent {
			why = append(why, address+" does not answer: start it, or remove it from the cluster")
		}
		return done, why, nil
	}
	return min(max(s.Version, done, 1), known), why, nil
}

// migrateInterval is how often a migration that waits is tried.
const migrateInterval = time.Second

// awaitMigrations returns true once the migration that waits need not wait any more,
// false when ctx ends or none waits.
func (m *TaskManifest) awaitMigrations(ctx context.Context, waiting int) bool {
	for waiting > 0 {
		select {
		case <-time.After(migrateInterval):
		case <-ctx.Done():
			return false
		}
		if upTo, _, err := m.migratable(ctx, waiting-1, waiting); err == nil && upTo == waiting {
			return true
		}
	}
	return false
}

func (m *TaskManifest) migrated(ctx context.Context, term Term) (version int, err error) {
	table := &Op{Steps: []Step{{SQL: sqlMigrationTable, Always: true}}}
	if err := m.applyOne(ctx, term, table); err != nil {
		return 0, err
	}
	err = m.readNow(ctx, func(c Conn) error {
		return each(c, sqlMigrationList, func(r Cursor) { version = int(r.Int(0)) })
	})
	return version, err
}

func (m *TaskManifest) applyMigration(ctx context.Context, term Term, mig migrations.Migration) error {
	now := time.Now().UnixMilli()
	return m.applyOne(ctx, term, &Op{Savepoint: true, Steps: []Step{
		{SQL: sqlMigrationInsert, Args: []Value{Int(int64(mig.Version)), Str(mig.Name), Int(now)}},
		{SQL: mig.SQL, Script: true},
	}})
}

func (m *TaskManifest) applyOne(ctx context.Context, term Term, op *Op) error {
	entry := Entry{StampMs: time.Now().UnixMilli(), Ops: []*Op{op}}
	applied, err := m.engine.Apply(ctx, term, entry.Encoded(nil))
	if err != nil {
		return err
	}
	return applied.Results[0].Err
}
