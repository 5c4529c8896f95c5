package raftdb

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// reconcile checks, before Raft starts, that database, snapshot record and log
// belong together, and makes the database's present state the newest snapshot:
// Raft believes without asking that the FSM is at that snapshot's index.
func (e *Engine) reconcile(d *database) error {
	r, err := readRecord(d.gen)
	if err != nil {
		return err
	}
	applied := d.meta.appliedIndex
	if r != nil && r.Index > applied {
		return fmt.Errorf("the database is at index %d, behind its own snapshot at %d: it was replaced by an older one; remove the data directory %s and join anew", applied, r.Index, e.cfg.Dir)
	}
	if r != nil {
		e.fsm.installed = r.InstalledIndex
	}
	if err := e.checkLog(applied, d.meta.appliedTerm); err != nil {
		return err
	}
	if applied == 0 {
		return e.undoBootstrap()
	}
	if err := d.checkpoint(0); err != nil {
		return err
	}
	return writeJSON(d.gen.record(), &record{
		Index: applied, Term: d.meta.appliedTerm, Configuration: raft.EncodeConfiguration(d.meta.servers()),
		ConfigurationIndex: d.meta.configurationIndex, InstalledIndex: e.fsm.installed,
	})
}

// undoBootstrap lets a member form its cluster after all if it was interrupted after
// Raft had stored the first term and before it had stored the configuration. Nothing
// was promised in that term: there is no vote and no log.
func (e *Engine) undoBootstrap() error {
	last, err := e.wal.LastIndex()
	if err != nil {
		return err
	}
	term, err := e.wal.GetUint64([]byte("CurrentTerm"))
	if err != nil || last > 0 || term == 0 {
		return err
	}
	if voted, err := e.wal.GetUint64([]byte("LastVoteTerm")); err != nil || voted > 0 {
		return err
	}
	return e.wal.SetUint64([]byte("CurrentTerm"), 0)
}

// checkLog refuses a log that lacks what the database has applied: what followed
// may have been acknowledged with this member's vote and is lost here, so it must
// not vote again under its identity.
func (e *Engine) checkLog(applied, appliedTerm uint64) error {
	first, err := e.wal.FirstIndex()
	if err != nil {
		return err
	}
	last, err := e.wal.LastIndex()
	if err != nil {
		return err
	}
	term, err := e.wal.GetUint64([]byte("CurrentTerm"))
	if err != nil {
		return err
	}
	other := false
	if applied == e.fsm.installed {
		if other, err = endsOtherwise(e.wal, applied, appliedTerm); err != nil {
			return err
		}
	}
	switch {
	case other, last > 0 && last < e.fsm.installed:
		// Stopped between taking a state into use and dropping the older log, or because that
		// ended with another entry: see use.
		return e.wal.DeleteRange(first, last)
	case last > 0 && last < applied, term == 0 && applied > 0:
		return fmt.Errorf("the log ends at %d and the database is at %d: log was lost here, and with it perhaps acknowledged writes; remove the data directory %s and start with --join, so that this member joins anew", last, applied, e.cfg.Dir)
	case first > applied+1:
		return fmt.Errorf("the log begins at %d and the database ends at %d: the entries between are gone; remove the data directory %s and start with --join", first, applied, e.cfg.Dir)
	}
	return nil
}
