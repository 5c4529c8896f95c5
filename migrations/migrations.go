// Package migrations holds the schema of the replicated state, as files that are
// applied in order, through the log, and never edited once released.
package migrations

import (
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed *.sql
var files embed.FS

// Migration is one file.
type Migration struct {
	Version int
	Name    string // without number and extension
	SQL     string
}

// All returns the migrations in order of their version, which has no gaps and
// begins at 1.
func All() ([]Migration, error) {
	names, err := fs.Glob(files, "*.sql") // sorted
	if err != nil {
		return nil, err
	}
	all := make([]Migration, 0, len(names))
	for i, name := range names {
		m, err := read(name)
		if err != nil {
			return nil, err
		}
		if m.Version != i+1 {
			return nil, fmt.Errorf("migration %s: version %d where %d is expected", name, m.Version, i+1)
		}
		all = append(all, m)
	}
	return all, nil
}

func read(name string) (Migration, error) {
	number, rest, ok := strings.Cut(strings.TrimSuffix(name, ".sql"), "_")
	version, err := strconv.Atoi(number)
	if !ok || err != nil {
		return Migration{}, fmt.Errorf("migration %s: name is not of the form 0001_name.sql", name)
	}
	sql, err := files.ReadFile(name)
	return Migration{Version: version, Name: rest, SQL: string(sql)}, err
}
