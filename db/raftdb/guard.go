package raftdb

import (
	"slices"
	"strings"

	"zombiezen.com/go/sqlite"
)

// Limits on a stranger's statement, beside its time and its rows.
const (
	// guardValueBytes has room for the largest payload and result, each 1 MiB.
	guardValueBytes = 5 << 18
	guardSQLBytes   = 64 << 10
	// guardPatternBytes bounds LIKE and GLOB, whose time grows with the product of
	// pattern and value.
	guardPatternBytes = 256
	// guardArguments bounds functions that put their arguments together, escaped, before
	// they look at the limit: 16 times 6 times 1.25 MiB.
	guardArguments = 16
)

// guard lets a connection do nothing but read this database. query_only and
// mode=ro alone would stop neither ATTACH nor VACUUM INTO.
// trusted is set while this package's own statements run.
func guard(conn *sqlite.Conn, trusted *bool) error {
	// SQLite's defensive mode would add nothing to the authorizer, which lets no PRAGMA
	// that sets and no write through. And conn.SetDefensive of zombiezen.com/go/sqlite
	// v1.4.2 passes one argument where sqlite3_db_config reads two: what lies behind it in
	// memory is taken for an address and written to.
	conn.Limit(sqlite.LimitLength, guardValueBytes)
	conn.Limit(sqlite.LimitSQLLength, guardSQLBytes)
	conn.Limit(sqlite.LimitAttached, 0)
	conn.Limit(sqlite.LimitExprDepth, 200)
	conn.Limit(sqlite.LimitCompoundSelect, 50)
	conn.Limit(sqlite.LimitVariableNumber, 999)
	conn.Limit(sqlite.LimitWorkerThreads, 0)
	conn.Limit(sqlite.LimitLikePatternLength, guardPatternBytes)
	conn.Limit(sqlite.LimitFunctionArg, guardArguments)
	if err := replaceFunctions(conn); err != nil {
		return err
	}
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
	case sqlite.OpSelect, sqlite.OpRead, sqlite.OpRecursive:
		return sqlite.AuthResultOK
	case sqlite.OpFunction:
		if name := functionName(a); name != "" && !slices.Contains(refusedFunctions, name) {
			return sqlite.AuthResultOK
		}
	case sqlite.OpPragma:
		if slices.Contains(readPragmas, strings.ToLower(a.Pragma())) {
			return sqlite.AuthResultOK
		}
	}
	return sqlite.AuthResultDeny
}
