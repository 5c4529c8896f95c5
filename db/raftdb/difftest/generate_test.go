package difftest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/raft-control-plane/control-plane/db"
)

// schema has each type that a column can have, strict and not, and each kind of
// constraint, index and generated column.
const schema = `
CREATE TABLE strict (
  k INTEGER PRIMARY KEY, i INT, r REAL, t TEXT CHECK (t IS NOT 'bad'), b BLOB UNIQUE, a ANY, n INTEGER NOT NULL DEFAULT 7,
  CHECK (i IS NULL OR i <> 13)
) STRICT;
CREATE INDEX strict_t ON strict (t COLLATE NOCASE, i DESC) WHERE t IS NOT NULL;
CREATE INDEX strict_json ON strict (iif(json_valid(t), t ->> '$.n', NULL));
CREATE TABLE loose (
  id INTEGER PRIMARY KEY AUTOINCREMENT, num NUMERIC, v VARCHAR(12) NOT NULL, f FLOAT, u UNIQUE, x, flag BOOLEAN, at DATETIME DEFAULT 'now',
  twice INT GENERATED ALWAYS AS (num * 2) STORED, long INT AS (length(v))
);
CREATE INDEX loose_v ON loose (v, long);
CREATE TABLE pairs (x TEXT COLLATE NOCASE, y INTEGER, z REAL, ref INTEGER REFERENCES strict (k) ON DELETE CASCADE, PRIMARY KEY (x, y)) STRICT, WITHOUT ROWID;
CREATE TABLE notes (id INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TABLE journal (stamp_ms INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
CREATE VIEW both AS SELECT k AS id, t AS text, 'strict' AS origin FROM strict UNION ALL SELECT id, v, 'loose' FROM loose;
CREATE TRIGGER loose_gone AFTER DELETE ON loose BEGIN INSERT INTO notes (note) VALUES ('gone ' || old.id); END;
CREATE TRIGGER pairs_refused BEFORE UPDATE ON pairs WHEN new.z > 1e6 BEGIN SELECT RAISE(ABORT, 'z is too large'); END;`

const (
	sqlJournal = "INSERT INTO journal (stamp_ms, body) SELECT ?2, ?3 WHERE ?1 > 0"
	sqlEnds    = "INSERT INTO journal (stamp_ms, body) VALUES (?1, ?2)"
)

// generator makes random entries: the same ones of the same seed.
type generator struct{ rand *rand.Rand }

func newGenerator(seed uint64) *generator { return &generator{rand.New(rand.NewPCG(seed, 0))} }

// template is a statement and what its parameters are drawn from, a letter each.
type template struct{ sql, args string }

// The letters: k key, i integer, r real, t text, b blob, v anything, f boolean, j JSON,
// p JSON path, s small integer, h a real of few digits, w anything with any real, m anything but a blob. Of an expression rqlite cannot
// send a blob, nor what SQLite makes of one that it takes for text. What may become text has
// h: since 3.53 SQLite writes reals with up to 17 digits, and rqlite's is older.
var writeTemplates = []template{
	{"INSERT INTO strict (k, i, r, t, b, a) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", "kirtbw"},
	{"INSERT INTO strict (k, i, r, t, b, a) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", "kvvvvv"},
	{"INSERT INTO strict (k, t) VALUES (?1, ?3), (?2, ?4), (?1 + ?2, ?5)", "kkttt"},
	{"INSERT OR FAIL INTO strict (k, t) VALUES (?1, ?3), (?2, ?4), (?1 + ?2, 'bad')", "kktt"},
	{"INSERT OR IGNORE INTO strict (k, i, b) VALUES (?1, ?2, ?3), (?4, ?2, ?3)", "kibk"},
	{"INSERT OR REPLACE INTO strict (k, a, n, b) VALUES (?1, ?2, ?3, ?4) RETURNING k, n", "kvib"},
	{"REPLACE INTO strict (k, r, t) VALUES (?1, ?2, ?3)", "krj"},
	{"INSERT INTO strict (k, i, t) VALUES (?1, ?2, ?3) ON CONFLICT (k) DO UPDATE SET i = excluded.i + strict.i, t = excluded.t || coalesce(strict.t, '') WHERE length(coalesce(strict.t, '')) < 100", "kst"},
	{"INSERT INTO strict (k, i) VALUES (?1, ?2), (?3, ?2) ON CONFLICT DO NOTHING RETURNING k, i, t, n", "kik"},
	{"INSERT INTO strict (k, t, b) VALUES (?1, ?2, ?3) ON CONFLICT (b) DO UPDATE SET t = excluded.t ON CONFLICT (k) DO UPDATE SET t = 'key'", "ktb"},
	{"UPDATE strict SET i = i + ?1, n = n + 1 WHERE k <= ?2", "ik"},
	{"UPDATE strict SET a = ?2, r = r * ?3 WHERE k = ?1 RETURNING k, typeof(a), quote(a)", "kwr"},
	{"UPDATE OR IGNORE strict SET k = k + ?1 WHERE i IS NOT NULL", "s"},
	{"UPDATE strict SET k = k - ?1 WHERE k > ?2", "sk"},
	{"UPDATE strict SET t = json_set(t, ?2, ?3) WHERE k = ?1", "kpv"},
	{"UPDATE strict SET t = json_patch(?2, ?3) WHERE k = ?1", "kjj"},
	{"UPDATE strict SET t = json_remove(?2, ?3), i = json_array_length(?2) WHERE k = ?1", "kjp"},
	{"UPDATE strict SET t = json_insert(json_object('k', k, 'i', i, 't', t), ?2, json(?3)), a = jsonb(?3) WHERE k = ?1", "kpj"},
	{"UPDATE strict SET n = (SELECT count(*) FROM loose WHERE v > strict.t), i = abs(?2) WHERE k > ?1", "ki"},
	{"UPDATE strict SET a = l.x, n = l.id FROM (SELECT id, x FROM loose ORDER BY id LIMIT 0+?1) AS l WHERE strict.k = l.id", "s"},
	{"DELETE FROM strict WHERE k = ?1 RETURNING k, i, t, n", "k"},
	{"DELETE FROM strict WHERE k IN (SELECT k FROM strict WHERE i > ?1 ORDER BY k DESC LIMIT 2)", "i"},
	{"DELETE FROM strict WHERE t = ?1 OR a IS ?2", "tv"},
	{"INSERT INTO loose (num, v, f, u, x, flag) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", "vmwwwf"},
	{"INSERT INTO loose (id, num, v, u, x, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", "kititv"},
	{"INSERT INTO loose (v, num, f) SELECT coalesce(t, 'none'), i, r FROM strict WHERE k > ?1 ORDER BY k LIMIT 0+?2", "ks"},
	{"INSERT INTO loose (v, x) SELECT key, value FROM json_each(?1) WHERE ?2 ORDER BY 1", "jf"},
	{"INSERT INTO loose (num, v) VALUES (CAST(?1 AS INTEGER), CAST(?2 AS TEXT)), (CAST(?3 AS REAL), hex(?4))", "vmvb"},
	{"UPDATE loose SET num = num / ?1, x = num % ?1, u = NULL WHERE id % 3 = ?2", "is"},
	{"UPDATE loose SET v = upper(v) || substr(?1, 2, 3), flag = NOT flag WHERE id < ?2", "tk"},
	{"UPDATE loose SET x = replace(v, ?1, ?2), f = length(?2) WHERE id > ?3", "ttk"},
	{"UPDATE loose SET id = ?2 WHERE id = ?1", "kk"},
	{"UPDATE loose SET v = ?1 WHERE v = ?2", "mt"},
	{"DELETE FROM loose WHERE id = ?1", "k"},
	{"DELETE FROM loose WHERE id IN (SELECT id FROM loose ORDER BY id LIMIT 0+?1)", "s"},
	{"WITH c (n, s) AS (SELECT ?1, ?2 UNION ALL SELECT n + 1, s || n FROM c WHERE n < ?1 + 3) INSERT INTO pairs (x, y) SELECT s, n FROM c WHERE true ORDER BY n ON CONFLICT DO UPDATE SET z = coalesce(z, 0) + 1", "kt"},
	{"INSERT INTO pairs (x, y, z, ref) VALUES (?1, ?2, ?3, ?4)", "tkrk"},
	{"INSERT INTO pairs (x, y, z) VALUES (?1, ?2, ?3) ON CONFLICT (x, y) DO UPDATE SET z = excluded.z RETURNING x, y, z", "tks"},
	{"UPDATE pairs SET z = z + ?1 WHERE y >= ?2", "rk"},
	{"UPDATE pairs SET x = lower(x), y = y + 1 WHERE x > ?1", "t"},
	{"DELETE FROM pairs WHERE x = ?1 OR ref = ?2", "tk"},
	{"INSERT INTO notes (note) VALUES (?1)", "v"},
	{"DELETE FROM notes WHERE id < (SELECT max(id) FROM notes) - ?1", "s"},
	// What cannot be run.
	{"INSERT INTO strict (k, nix) VALUES (?1, 1)", "k"},
	{"INSERT INTO nix VALUES (?1)", "k"},
	{"UPDATE strict SET = ?1", "k"},
	{"INSERT INTO strict (k, t) VALUES (?1, ?2)", "k"}, // a parameter without a value
	{"UPDATE both SET text = ?1", "t"},
	{"UPDATE loose SET twice = ?1", "i"},
	{"INSERT INTO loose (v, x) VALUES ('x', abs(-9223372036854775807 - 1)), (?1, 1)", "t"},
	{"INSERT INTO loose (v, x) SELECT 'sum', sum(i) FROM strict WHERE ?1", "f"},
}

// guardTemplates are first steps; their later steps are quietTemplates, which cannot
// fail, or any.
var guardTemplates = []template{
	{"UPDATE strict SET n = n + 1 WHERE k = ?1", "k"},
	{"UPDATE strict SET n = n + 1 WHERE k = ?1 AND i > ?2", "ki"},
	{"UPDATE loose SET x = ?2 WHERE id = ?1 AND v >= ?3 RETURNING id", "kvt"},
	{"INSERT INTO strict (k, t) VALUES (?1, ?2) ON CONFLICT DO NOTHING", "kt"},
	{"INSERT INTO strict (k, t) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM strict WHERE t = ?2)", "kt"},
	{"DELETE FROM strict WHERE k = ?1", "k"},
	{"INSERT INTO pairs (x, y) VALUES (?1, ?2)", "tk"},
}

var quietTemplates = []template{
	{"INSERT INTO notes (note) VALUES (coalesce(?1, '') || '!')", "t"},
	{"DELETE FROM pairs WHERE y = ?1", "k"},
	{"UPDATE strict SET r = ?2 WHERE k > ?1", "kr"},
}

var scripts = []string{
	"CREATE INDEX IF NOT EXISTS extra ON loose (x, f); -- a comment\n",
	"DROP INDEX IF EXISTS extra;",
	"CREATE TABLE IF NOT EXISTS more (a, b); INSERT INTO more VALUES (1, 'x'), (2.5, NULL); UPDATE more SET b = b || a;",
	"DROP TABLE IF EXISTS more;\n\n-- done",
	"INSERT INTO notes (note) VALUES ('before'); INSERT INTO nix VALUES (1);",
	"CREATE TABLE strict (again);",
	"ANALYZE;",
	"REINDEX loose;",
}

var readTemplates = []template{
	{"SELECT k, i, r, t, b, a, n FROM strict WHERE k >= ?1 ORDER BY k LIMIT 0+?2", "ks"},
	{"SELECT count(*), count(i), max(t), min(r), hex(max(b)), total(n) FROM strict WHERE a IS NOT ?1", "v"},
	{"SELECT sum(i), avg(n) FROM strict WHERE k < ?1", "k"},
	{"SELECT t ->> ?1, json_type(t, ?1), t -> ?1 FROM strict WHERE json_valid(t) ORDER BY k", "p"},
	{"SELECT e.key, e.value, e.type, e.path FROM strict, json_each(t) AS e WHERE json_valid(t) ORDER BY k, e.id", ""},
	{"SELECT json_group_array(v ORDER BY id), json_group_object(v, length(v) ORDER BY id) FROM loose WHERE id > ?1", "k"},
	{"SELECT id, origin, row_number() OVER w, lag(id, 1, -1) OVER w FROM both WINDOW w AS (PARTITION BY origin ORDER BY id) ORDER BY origin, id", ""},
	{"SELECT x, y, z, (SELECT t FROM strict WHERE k = ref) FROM pairs WHERE x COLLATE BINARY > ?1 ORDER BY x, y", "t"},
	{"SELECT typeof(v), hex(v), unicode(v), length(v), lower(v), trim(v), instr(v, ?1), substr(v, -2), quote(v) FROM loose WHERE typeof(v) = 'text' ORDER BY id", "t"},
	{"SELECT id, CAST(v AS INTEGER), CAST(v AS REAL), CAST(num AS INTEGER), num + 0, num = v, num < x, twice IS NULL FROM loose ORDER BY id", ""},
	{"SELECT ?1, typeof(?1), hex(?2), typeof(?2), ?3 + 0, ?4 || '', length(?5), ?1 = ?2, ?1 < ?2, CAST(?3 AS REAL), ?6", "mvvtbf"},
	{"SELECT round(?1, ?2), ?1 / ?3, ?1 % ?3, ?1 << 3, ~?3, -?3, abs(?1), sign(?1), max(?1, ?3), min(?1, ?3), coalesce(NULL, ?1)", "isi"},
	{"SELECT abs(?1), ?1 + ?1, ?1 * ?1", "i"},
	{"SELECT json(?1), json_extract(?1, ?2), json_quote(?3), json_array(?3, ?4)", "jpti"},
	{"SELECT group_concat(note, ?1 ORDER BY id) FROM notes", "t"},
	{"WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n * 3 FROM c WHERE n < ?1 LIMIT 50) SELECT n FROM c ORDER BY n", "i"},
	{"SELECT printf('%d %5.2f %s %x', ?1, ?2, ?3, ?1), char(?4, 955), strftime('%Y-%m-%d', ?4, 'unixepoch')", "ihtk"},
	{"SELECT v, count(*) FROM loose GROUP BY v COLLATE NOCASE HAVING count(*) >= ?1 ORDER BY min(id)", "s"},
	{"SELECT stamp_ms, body FROM journal ORDER BY rowid DESC LIMIT 3", ""},
}

// entry makes an entry of up to some twenty operations.
func (g *generator) entry(i int) *db.Entry {
	e := &db.Entry{StampMs: 1_900_000_000_000 + int64(i)}
	if !g.oneIn(4) {
		e.JournalSQL = sqlJournal
	}
	if g.oneIn(2) {
		e.EndsSQL = sqlEnds
	}
	for range 1 + g.rand.IntN(20) {
		op := g.op(len(e.Ops))
		op.Ends = int64(g.rand.IntN(3))
		if before := len(e.Ops); before > 0 && g.oneIn(4) {
			op.Needs = 1 + g.rand.IntN(before)
		}
		e.Ops = append(e.Ops, op)
	}
	return e
}

func (g *generator) op(i int) *db.Op {
	op := &db.Op{}
	switch {
	case g.oneIn(60):
		op.Savepoint = true
		op.Steps = []db.Step{{SQL: pick(g, scripts), Script: true}}
		return op
	case g.oneIn(4):
		op.Steps = []db.Step{g.step(pick(g, guardTemplates))}
		for range 1 + g.rand.IntN(3) {
			op.Steps = append(op.Steps, g.step(pick(g, quietTemplates)))
		}
		if op.Savepoint = g.oneIn(2); op.Savepoint {
			op.Steps = append(op.Steps, g.step(pick(g, writeTemplates)))
		}
		if g.oneIn(3) {
			s := g.step(quietTemplates[0])
			s.Always = true
			op.Steps = append(op.Steps, s)
		}
	default:
		op.Steps = []db.Step{g.step(pick(g, writeTemplates))}
		op.Savepoint = g.oneIn(5)
	}
	if !g.oneIn(3) {
		op.Journal = fmt.Appendf(nil, `["op",%d]`, i)
	}
	return op
}

// halves makes an operation that fails behind its first step and has no savepoint.
func (g *generator) halves() *db.Op {
	return &db.Op{Steps: []db.Step{
		{SQL: "INSERT INTO notes (note) VALUES (?1)", Args: []db.Value{db.Str("half")}},
		{SQL: "INSERT INTO strict (k, t) VALUES (?1, ?2)", Args: []db.Value{db.Int(g.rand.Int64N(9)), db.Str("bad")}}}}
}

func (g *generator) step(t template) db.Step { return db.Step{SQL: t.sql, Args: g.args(t.args)} }

func (g *generator) args(letters string) []db.Value {
	out := make([]db.Value, len(letters))
	for i, l := range letters {
		out[i] = g.value(l)
	}
	return out
}

func (g *generator) value(letter rune) db.Value {
	switch letter {
	case 'k':
		return db.Int(g.rand.Int64N(40))
	case 's':
		return db.Int(g.rand.Int64N(5))
	case 'i':
		return db.Int(g.integer())
	case 'r':
		return db.Float(g.real())
	case 't':
		return db.Str(g.text())
	case 'b':
		return db.Value{Kind: db.Blob, Bytes: g.blob()}
	case 'f':
		return boolean(g.oneIn(2))
	case 'j':
		return db.Str(g.json(3))
	case 'h':
		return db.Float(float64(g.rand.Int64N(1<<20)-1<<19) / 64)
	case 'm':
		return g.value(pick(g, []rune("ihtfj0")))
	case 'w':
		return g.value(pick(g, []rune("irtbfj0")))
	case '0':
		return db.Value{}
	case 'p':
		return db.Str(pick(g, []string{"$", "$.n", "$.a", "$.a[0]", "$[1]", "$.a.b", "$.ключ", "$[#-1]", "nix", "$.."}))
	}
	return g.value(pick(g, []rune("ihtbfj0")))
}

// boolean is a parameter of rqlite's boolean type, which the engine reads as 1 or 0
// and never writes. Bytes marks it for parameter.
func boolean(b bool) db.Value {
	v := db.Bool(b)
	v.Bytes = []byte{1}
	return v
}

func (g *generator) integer() int64 {
	switch g.rand.IntN(4) {
	case 0:
		return pick(g, []int64{0, 1, -1, 13, 1 << 31, 1<<53 + 1, -(1<<53 + 1), math.MaxInt64, math.MinInt64, math.MaxInt64 - 1})
	case 1:
		return int64(g.rand.Uint64()) >> g.rand.IntN(64)
	}
	return g.rand.Int64N(100) - 20
}

func (g *generator) real() float64 {
	switch g.rand.IntN(4) {
	case 0:
		return pick(g, []float64{0, math.Copysign(0, -1), 1, -1, 0.1, 1e15, 1e300, -1e-300, 5e-324, math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN(), 9007199254740993, 9.3e18})
	case 1:
		return math.Float64frombits(g.rand.Uint64())
	}
	return math.Round(g.rand.NormFloat64()*1e4) / 64
}

func (g *generator) text() string {
	switch g.rand.IntN(5) {
	case 0:
		return pick(g, []string{"", "bad", "a\x00b", "'", `"`, "NULL", "12", " 12 ", "1e3", "0x1F", "-0.0", "12abc", "9223372036854775808", "Grüße", "ГРУША", "日本語", "👩‍🔬", "e\u0301", "\u202eabc", "%_*?"})
	case 1:
		return g.json(2)
	}
	var b strings.Builder
	for range g.rand.IntN(12) {
		b.WriteRune(pick(g, []rune("aAbBxyZ 019.äÄß€日🎲")))
	}
	return b.String()
}

func (g *generator) blob() []byte {
	n := g.rand.IntN(6)
	if g.oneIn(20) {
		n = 3000
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.rand.Uint32())
	}
	return b
}

// json makes a document, at times a broken one.
func (g *generator) json(depth int) string {
	if g.oneIn(25) {
		return pick(g, []string{"{", "[1,", "nul", `{"a":}`, `"\x"`, "'a'"})
	}
	if depth == 0 {
		return pick(g, []string{"1", "-7", "2.5", "true", "null", `"x"`, `"é\n\u0041"`, "9223372036854775807", "1e2", "[]", "{}"})
	}
	if g.oneIn(2) {
		return fmt.Sprintf("[%s,%s]", g.json(depth-1), g.json(0))
	}
	return fmt.Sprintf(`{"n":%s,"a":%s,"ключ":%s}`, g.json(0), g.json(depth-1), g.json(0))
}

func (g *generator) oneIn(n int) bool { return g.rand.IntN(n) == 0 }

func pick[T any](g *generator, from []T) T { return from[g.rand.IntN(len(from))] }
