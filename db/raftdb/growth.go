package raftdb

import (
	"math"
	"slices"
	"strings"

	"github.com/raft-control-plane/control-plane"
)

// growthLimit bounds how many terms SQLite may make of a stranger's statement before it
// runs. It puts what a subquery computes in place of each mention of it, so that
//
//	WITH a(x) AS (SELECT …), b(x) AS (SELECT x + x FROM a), c(x) AS (SELECT x + x FROM b) …
//
// doubles with each step: 600 bytes take minutes and gigabytes, and nothing interrupts
// that. What people write has some hundred terms.
const (
	growthLimit = 20_000
	maxNesting  = 500
)

// checkGrowth refuses statements that would grow beyond growthLimit. It looks at the
// tokens only: what is no statement at all is SQLite's to refuse.
func checkGrowth(sql string) error {
	g := growth{named: map[string][]*subquery{}}
	root, ok := parseGroups(tokenize(sql))
	if !ok {
		return controlplane.FieldErrorf("sql", "has parentheses in more than %d others: ask in parts", maxNesting)
	}
	g.define(root)
	if g.weigh(&subquery{body: root}).total > growthLimit {
		return controlplane.FieldErrorf("sql", "its subqueries use each other's columns so often that it would grow to more than %d terms:"+
			" write AS MATERIALIZED ( for those that others build on, or ask in parts", growthLimit)
	}
	return nil
}

// subquery is a SELECT in parentheses, or the whole statement.
type subquery struct {
	body         []group
	materialized bool
	named        bool
	state        int // unseen, being weighed, weighed
	weight       weight
}

const (
	unseen = iota
	beingWeighed
	weighed
)

// weight counts terms: those of the largest column, and those of the whole.
type weight struct{ column, total float64 }

func (w weight) capped() weight {
	return weight{min(max(w.column, 1), 1e12), min(max(w.total, 1), 1e12)}
}

type growth struct {
	named map[string][]*subquery // common table expressions, wherever they stand
	path  []*subquery            // those that are being weighed
}

// define collects "name (…) AS MATERIALIZED (SELECT …)" at every level.
func (g *growth) define(body []group) {
	for i, t := range body {
		g.define(t.inner)
		if t.query == nil {
			continue
		}
		j, s := i-1, t.query
		if j >= 0 && body[j].word == "materialized" {
			s.materialized = true
			if j--; j >= 0 && body[j].word == "not" {
				s.materialized = false
				j--
			}
		}
		if j < 1 || body[j].word != "as" {
			continue
		}
		if j--; body[j].inner != nil {
			j-- // the names of its columns
		}
		if j >= 0 && body[j].word != "" {
			s.named = true
			g.named[body[j].word] = append(g.named[body[j].word], s)
		}
	}
}

func isQuery(body []group) bool {
	return len(body) > 0 && (body[0].word == "select" || body[0].word == "with" || body[0].word == "values")
}

func (g *growth) weigh(s *subquery) weight {
	switch s.state {
	case weighed:
		return s.weight
	case beingWeighed:
		if g.path[len(g.path)-1] == s { // it is recursive, and so not put in place
			return weight{1, 1}
		}
		return weight{math.Inf(1), math.Inf(1)}.capped() // circular, or one name for several: SQLite may see what this does not
	}
	s.state = beingWeighed
	if s.named {
		g.path = append(g.path, s)
		defer func() { g.path = g.path[:len(g.path)-1] }()
	}
	var all weight
	for core := range cores(s.body) {
		w := g.weighCore(core)
		all = weight{max(all.column, w.column), all.total + w.total}
	}
	if s.weight = all.capped(); s.materialized {
		s.weight.column = 1
	}
	s.state = weighed
	return s.weight
}

// cores yields the parts of a compound SELECT.
func cores(body []group) func(yield func([]group) bool) {
	return func(yield func([]group) bool) {
		from := 0
		for i, t := range body {
			if t.word == "union" || t.word == "intersect" || t.word == "except" {
				if !yield(body[from:i]) {
					return
				}
				from = i + 1
			}
		}
		yield(body[from:])
	}
}

// tally is what a part of a SELECT mentions.
type tally struct {
	columns, stars float64
	subqueries     float64 // their terms
}

func (t *tally) add(o tally) {
	t.columns += o.columns
	t.stars += o.stars
	t.subqueries += o.subqueries
}

// weighCore weighs one SELECT … FROM ….
func (g *growth) weighCore(body []group) weight {
	results, rest := splitCore(body)
	source := g.sources(rest)
	var all, item tally
	largest := 1.0
	end := func() {
		largest = max(largest, item.columns*source.column+item.subqueries)
		all.add(item)
		item = tally{}
	}
	for i, t := range results {
		if t.mark == ',' {
			end()
		} else {
			item.add(g.tally(results, i))
		}
	}
	end()
	var others tally
	for i := range rest {
		others.add(g.tally(rest, i))
	}
	// What is not a result may name one: others count with the largest of them.
	return weight{largest, all.columns*source.column + all.stars*source.total + others.columns*max(source.column, largest) +
		all.subqueries + others.subqueries + source.total}
}

// splitCore returns the results of a SELECT, and all that follows them.
func splitCore(body []group) (results, rest []group) {
	begin := slices.IndexFunc(body, func(t group) bool { return t.word == "select" })
	if begin < 0 {
		return nil, body
	}
	body = body[begin+1:]
	for i, t := range body {
		switch t.word {
		case "from", "where", "group", "having", "order", "limit", "window":
			return body[:i], body[i:]
		}
	}
	return body, nil
}

// sources weighs the subqueries that a FROM names or holds: the largest column, and
// the terms of all.
func (g *growth) sources(body []group) weight {
	w := weight{1, 0}
	for _, t := range body {
		var from []*subquery
		switch {
		case t.query != nil:
			from = []*subquery{t.query}
		case t.inner != nil:
			inner := g.sources(t.inner)
			w = weight{max(w.column, inner.column), w.total + inner.total}
		case t.word != "":
			from = g.named[t.word]
		}
		for _, s := range from {
			ws := g.weigh(s)
			w = weight{max(w.column, ws.column), w.total + ws.total}
		}
	}
	return weight{w.column, w.total}
}

// tally counts what the token at i mentions, with all that is in its parentheses.
func (g *growth) tally(body []group, i int) (sum tally) {
	t := body[i]
	next := func(mark byte) bool { return i+1 < len(body) && body[i+1].mark == mark }
	switch {
	case t.query != nil:
		sum.subqueries = g.weigh(t.query).total
	case t.inner != nil:
		for j := range t.inner {
			sum.add(g.tally(t.inner, j))
		}
	case t.mark == '*':
		sum.columns, sum.stars = 1, 1
	case t.word == "", next('.'), i+1 < len(body) && body[i+1].inner != nil, notColumns[t.word], i > 0 && body[i-1].word == "as":
	default:
		sum.columns = 1
	}
	return sum
}

// notColumns are words that stand where columns do.
var notColumns = func() map[string]bool {
	words := map[string]bool{}
	for w := range strings.FieldsSeq(`all and as asc between by case collate cross current desc distinct else end escape exists explain false filter following
		from full glob group having in indexed inner is isnull join left like limit match natural not notnull null nulls offset on or order outer over
		partition plan preceding query range recursive regexp right row rows select then true unbounded using values when where window with`) {
		words[w] = true
	}
	return words
}()

// token is a word in small letters, or the mark of anything else.
type token struct {
	word string
	mark byte
}

// group is a token, or what stands in parentheses: inner is not nil then, and query too
// if it is a SELECT.
type group struct {
	token
	inner []group
	query *subquery
}

// parseGroups puts what stands in parentheses into groups; not ok if they are nested
// too deep.
func parseGroups(tokens []token) (root []group, ok bool) {
	stack := [][]group{{}}
	closeOne := func() {
		top := len(stack) - 1
		g := group{inner: stack[top]}
		if isQuery(g.inner) {
			g.query = &subquery{body: g.inner}
		}
		stack[top-1] = append(stack[top-1], g)
		stack = stack[:top]
	}
	for _, t := range tokens {
		top := len(stack) - 1
		switch {
		case t.mark == '(' && top == maxNesting:
			return nil, false
		case t.mark == '(':
			stack = append(stack, []group{})
		case t.mark == ')' && top > 0:
			closeOne()
		case t.mark != ')':
			stack[top] = append(stack[top], group{token: t})
		}
	}
	for len(stack) > 1 {
		closeOne()
	}
	return stack[0], true
}

// tokenize splits SQL as SQLite does. Literals and parameters have the mark '0'.
func tokenize(sql string) (tokens []token) {
	for len(sql) > 0 {
		n, t := nextToken(sql)
		if t != (token{}) {
			tokens = append(tokens, t)
		}
		sql = sql[min(max(n, 1), len(sql)):]
	}
	return tokens
}

// nextToken returns the length of what sql begins with; no token for space and
// comments.
func nextToken(sql string) (int, token) {
	c := sql[0]
	switch {
	case strings.HasPrefix(sql, "--"):
		return upTo(sql, "\n"), token{}
	case strings.HasPrefix(sql, "/*"):
		return 2 + upTo(sql[2:], "*/"), token{}
	case c == '\'':
		return quotedSpan(sql, c), token{mark: '0'}
	case c == '"' || c == '`':
		n := quotedSpan(sql, c)
		return n, token{word: strings.ToLower(strings.Trim(sql[:n], string(c)))}
	case c == '[':
		n := upTo(sql, "]")
		return n, token{word: strings.ToLower(strings.Trim(sql[:n], "[]"))}
	case isWordByte(c) || c == '?' || c == ':' || c == '@' || c == '#':
		n := 1
		for n < len(sql) && isWordByte(sql[n]) {
			n++
		}
		if c < 'A' || c == '@' { // a number or a parameter
			return n, token{mark: '0'}
		}
		return n, token{word: strings.ToLower(sql[:n])}
	case strings.IndexByte(" \t\r\n\f", c) >= 0:
		return 1, token{}
	}
	return 1, token{mark: c}
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c > math.MaxInt8
}

// upTo returns the length up to and with the first end, of all if there is none.
func upTo(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

// quotedSpan returns the length of what stands in quotes; two quotes are one within.
func quotedSpan(s string, quote byte) int {
	for i := 1; i < len(s); i++ {
		if s[i] != quote {
			continue
		}
		if i+1 == len(s) || s[i+1] != quote {
			return i + 1
		}
		i++
	}
	return len(s)
}
