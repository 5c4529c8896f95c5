package raftdb

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"
)

// The data directory:
//
//	LOCK           held by the process that uses the directory
//	member.json    who this member is
//	log/           the Raft log (raft-wal)
//	CURRENT        name of the generation in use
//	state-000001/  a generation: state.db and the record of its newest snapshot
//
// A state that is received goes into a new generation, which takes effect when
// CURRENT names it. CURRENT is replaced by a rename, so that a crash at any point
// leaves the old state or the new one, whole.
type dataDir struct {
	path string
	lock *os.File
}

// identity is who a member is. The incarnation is made with the data directory: a
// member whose data was wiped is another voter under the same name.
type identity struct {
	Name        string `json:"name"`
	Incarnation string `json:"incarnation"`
}

func (i identity) serverID() raft.ServerID { return raft.ServerID(i.Name + "/" + i.Incarnation) }

// nameOf returns the name in a server id.
func nameOf(id raft.ServerID) string {
	name, _, _ := strings.Cut(string(id), "/")
	return name
}

func openDataDir(path string) (*dataDir, error) {
	if err := makeDir(path); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	if err := lockFile(lock); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("data directory %s is in use by another process: stop that one, or give another directory", path)
	}
	if err := settle(path); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", path, err), lock.Close())
	}
	return &dataDir{path: path, lock: lock}, nil
}

func (d *dataDir) close() { _ = d.lock.Close() }

// identity reads who this member is, or decides it.
func (d *dataDir) identity(name string) (identity, error) {
	path := filepath.Join(d.path, "member.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		id := identity{Name: name, Incarnation: randomID(6)}
		return id, writeJSON(path, id)
	}
	if err != nil {
		return identity{}, err
	}
	var id identity
	if err := json.Unmarshal(text, &id); err != nil || id.Incarnation == "" {
		return identity{}, fmt.Errorf("%s is damaged (%v): the member's data cannot be trusted; remove the data directory and join anew", path, err)
	}
	if id.Name != name {
		return identity{}, fmt.Errorf("data directory %s belongs to member %q, not %q: give that name or another directory", d.path, id.Name, name)
	}
	return id, nil
}

// generation is a directory with a database.
type generation struct{ path string }

func (g generation) database() string { return filepath.Join(g.path, "state.db") }
func (g generation) record() string   { return filepath.Join(g.path, "snapshot.json") }
func (g generation) name() string     { return filepath.Base(g.path) }

const generationPrefix = "state-"

// current returns the generation in use, makes the first one if there is none,
// and removes what an interrupted install or backup has left.
func (d *dataDir) current() (generation, error) {
	text, err := os.ReadFile(filepath.Join(d.path, "CURRENT"))
	if errors.Is(err, fs.ErrNotExist) {
		return d.first()
	}
	if err != nil {
		return generation{}, err
	}
	g := generation{filepath.Join(d.path, strings.TrimSpace(string(text)))}
	if _, err := os.Stat(g.database()); err != nil || !strings.HasPrefix(g.name(), generationPrefix) {
		return generation{}, fmt.Errorf("data directory %s: CURRENT names %q, which has no database (%v): remove the directory and join anew", d.path, g.name(), err)
	}
	return g, d.removeOthers(g)
}

func (d *dataDir) first() (generation, error) {
	if err := d.removeOthers(generation{}); err != nil { // never named, so never used
		return generation{}, err
	}
	g, err := d.next(generation{filepath.Join(d.path, generationPrefix+"000000")})
	if err != nil {
		return g, err
	}
	if err := createDatabase(g); err != nil {
		return g, fmt.Errorf("create the database: %w", err)
	}
	return g, d.use(g)
}

// next makes an empty directory for the generation after g.
func (d *dataDir) next(g generation) (generation, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(g.name(), generationPrefix))
	if err != nil {
		return generation{}, fmt.Errorf("generation %q: %w", g.name(), err)
	}
	next := generation{filepath.Join(d.path, fmt.Sprintf("%s%06d", generationPrefix, n+1))}
	if err := os.RemoveAll(next.path); err != nil {
		return generation{}, err
	}
	return next, os.Mkdir(next.path, 0o700)
}

// use makes g the generation in use, durably.
func (d *dataDir) use(g generation) error {
	if err := syncDir(g.path); err != nil {
		return err
	}
	return writeFile(filepath.Join(d.path, "CURRENT"), []byte(g.name()+"\n"))
}

func (d *dataDir) removeOthers(keep generation) error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		other := strings.HasPrefix(entry.Name(), generationPrefix) && (keep.path == "" || entry.Name() != keep.name())
		if other || strings.HasPrefix(entry.Name(), backupPrefix) {
			if err := os.RemoveAll(filepath.Join(d.path, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(text, '\n'))
}

// writeFile replaces a file so that a crash leaves the old content or the new.
func writeFile(path string, text []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// makeDir makes a directory, and those above it that are missing, durably: with a
// name that was not synced a loss of power takes away all that is in it.
func makeDir(path string) error {
	parent := filepath.Dir(path)
	if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if err := syncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) { // then it was made for us
		return err
	}
	return nil
}

// settle syncs a directory and the files in it. A process that was killed may have
// written what it had no time to sync: that is there to be read, and to be counted as
// stored, and not yet safe.
func settle(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			if err := syncDir(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return syncDir(dir)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func randomID(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
