package raftdb

import (
	"slices"
	"strings"

	"zombiezen.com/go/sqlite"
)

// Limits on a stranger's statement, beside its time and its rows.
const (
	guardValueBytes = 8 << 20
	guardSQLBytes   = 64 << 10
)

// guard lets a connection do nothing but read this database. query_only and
// mode=ro alone would stop neither ATTACH nor VACUUM INTO.
// trusted is set while this package's own statements run.
func guard(conn *sqlite.Conn, trusted *bool) error {
	if err := conn.SetDefensive(true); err != nil {
		return err
	}
	conn.Limit(sqlite.LimitLength, guardValueBytes)
	conn.Limit(sqlite.LimitSQLLength, guardSQLBytes)
	conn.Limit(sqlite.LimitAttached, 0)
	conn.Limit(sqlite.LimitExprDepth, 200)
	conn.Limit(sqlite.LimitCompoundSelect, 50)
	conn.Limit(sqlite.LimitVariableNumber, 999)
	conn.Limit(sqlite.LimitWorkerThreads, 0)
	return conn.SetAuthorizer(sqlite.AuthorizeFunc(func(a sqlite.Action) sqlite.AuthResult {
		if *trusted {
			return sqlite.AuthResultOK
		}
		return authorize(a)
	}))
}

// readPragmas tell about the schema; with an argument they name a table or index,
// never a value to set.
var readPragmas = []string{
	"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list",
	"function_list", "compile_options", "collation_list",
}

func authorize(a sqlite.Action) sqlite.AuthResult {
	switch a.Type() {
	case sqlite.OpSelect, sqlite.OpRead, sqlite.OpRecursive, sqlite.OpFunction: // extensions cannot be loaded: SQLite's default
		return sqlite.AuthResultOK
	case sqlite.OpPragma:
		if slices.Contains(readPragmas, strings.ToLower(a.Pragma())) {
			return sqlite.AuthResultOK
		}
	}
	return sqlite.AuthResultDeny
}
