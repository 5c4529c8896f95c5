package db

import (
	"context"
	"fmt"
	"time"

	"github.com/raft-control-plane/control-plane/migrations"
)

// migrate applies, through the log, the migrations that the state lacks, each in
// an entry of its own with the row that records it.
func (m *TaskManifest) migrate(ctx context.Context, term Term) error {
	all, err := migrations.All()
	if err != nil {
		return err
	}
	done, err := m.migrated(ctx, term)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if done > len(all) {
		return fmt.Errorf("migrate: the state is at schema version %d and this release knows %d: upgrade this member", done, len(all))
	}
	for _, mig := range all[done:] {
		if err := m.applyMigration(ctx, term, mig); err != nil {
			return fmt.Errorf("migrate to %d (%s): %w", mig.Version, mig.Name, err)
		}
		m.log.Info("schema migrated", "version", mig.Version, "name", mig.Name)
	}
	return nil
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
	applied, err := m.engine.Apply(ctx, term, entry.Encode(nil))
	if err != nil {
		return err
	}
	return applied.Results[0].Err
}
