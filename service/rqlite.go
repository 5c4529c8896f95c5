package service

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/rqlite/rqlite/v8/command/encoding"
	command "github.com/rqlite/rqlite/v8/command/proto"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// The reading half of rqlite's HTTP API, version 8, so that its shell and its client
// libraries can read the state. What they find beyond that:
//
//   - level none reads this member's state; all others are linearizable, as is
//     freshness_strict.
//   - The statements of a request show one state, and share the limits of a query.
//     Whoever reaches one is told so by an error, since there is no other word for it.
//   - Whatever changes the state is refused.

const (
	// rqliteVersionHeader is how rqlite's shell learns a server's version.
	rqliteVersionHeader = "X-Rqlite-Version"
	// rqliteMethod is the name that /metrics counts these queries by.
	rqliteMethod = "RqliteQuery"
	// rqliteBodyTimeout bounds how long a client may take to send its statements.
	rqliteBodyTimeout = 10 * time.Second
)

// isRqlite tells the paths that rqlite's clients ask for. Its shell begins with
// //status.
func isRqlite(p string) bool {
	p = path.Clean(p)
	return p == "/status" || p == "/nodes" || p == "/leader" || p == "/db" || strings.HasPrefix(p, "/db/")
}

func (s *server) mountRqlite(mux *http.ServeMux) {
	mux.HandleFunc("/db/query", s.rqliteQuery(http.MethodGet, http.MethodPost))
	mux.HandleFunc("/db/request", s.rqliteQuery(http.MethodPost))
	mux.HandleFunc("/db/", s.rqliteRefuse)
	mux.HandleFunc("/status", s.rqliteStatus)
	mux.HandleFunc("/nodes", s.rqliteNodes)
	mux.HandleFunc("/leader", s.rqliteLeader)
}

// withRqliteVersion stamps what answers rqlite's clients, redirects included.
func (s *server) withRqliteVersion(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isRqlite(r.URL.Path) {
			w.Header().Set(rqliteVersionHeader, "raft-node "+s.Version)
		}
		next.ServeHTTP(w, r)
	})
}

// rqliteResponse is what /db/query and /db/request answer.
type rqliteResponse struct {
	Results json.RawMessage `json:"results"`
	Time    float64         `json:"time,omitempty"`
	Index   uint64          `json:"raft_index,omitempty"`
}

func (s *server) rqliteQuery(methods ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		if !allowMethod(w, r, methods...) {
			return
		}
		q, err := parseRqliteQuery(w, r)
		if err == nil {
			err = s.answerRqlite(r.Context(), w, q, begun)
		}
		var ce *connect.Error
		if err != nil {
			ce = s.connectError(rqliteMethod, err)
			s.rqliteFailed(w, ce)
		}
		s.metrics.observe(rqliteMethod, errorOrNil(ce), time.Since(begun))
	}
}

// errorOrNil keeps a nil pointer from being an error that is not nil.
func errorOrNil(ce *connect.Error) error {
	if ce == nil {
		return nil
	}
	return ce
}

func (s *server) answerRqlite(ctx context.Context, w http.ResponseWriter, q *rqliteQuery, begun time.Time) error {
	if q.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.timeout)
		defer cancel()
	}
	results, index, err := s.runRqlite(ctx, q)
	if err != nil {
		return err
	}
	res := rqliteResponse{}
	enc := encoding.Encoder{Associative: q.has("associative"), BlobsAsByteArrays: q.has("blob_array")}
	if res.Results, err = enc.JSONMarshal(results); err != nil {
		return err
	}
	if q.has("timings") {
		res.Time = time.Since(begun).Seconds()
	}
	if q.has("raft_index") {
		res.Index = index
	}
	w.Header().Set(appliedHeader, strconv.FormatUint(index, 10))
	return writeRqlite(w, q.has("pretty"), res)
}

// runRqlite returns a result for each statement; the error of one, its time's end
// included, is its result.
func (s *server) runRqlite(ctx context.Context, q *rqliteQuery) ([]*command.QueryRows, uint64, error) {
	answers, err := s.queryQuoted(ctx, q)
	if controlplane.CodeOf(err) == controlplane.CodeDeadline {
		answers = make([]db.QueryResult, len(q.statements))
		for i := range answers {
			answers[i].Err = err
		}
	} else if err != nil {
		return nil, 0, err
	}
	left := maxSendBytes
	results := make([]*command.QueryRows, len(answers))
	for i := range answers {
		results[i] = rqliteRows(&answers[i], q, &left)
	}
	return results, cmp.Or(answers[0].Index, s.engine.AppliedIndex()), nil
}

// noSuchColumn is what SQLite says of a word in double quotes that names no column.
// rqlite's SQLite takes it for text, and its shell relies on that.
var noSuchColumn = regexp.MustCompile(`no such column: ("[^"]*") - should this be a string literal`)

// maxQuoted is how many such words are taken for text.
const maxQuoted = 4

// queryQuoted runs the statements, again while words in double quotes turn out to be
// text.
func (s *server) queryQuoted(ctx context.Context, q *rqliteQuery) ([]db.QueryResult, error) {
	first, err := s.queryAll(ctx, q.statements, q.read)
	answers := first
	for range maxQuoted {
		stmts, changed := asText(slices.Clone(q.statements), answers)
		if err != nil || !changed {
			break
		}
		q.statements = stmts
		answers, err = s.queryAll(ctx, stmts, q.read)
	}
	for i := range answers {
		if err == nil && answers[i].Err != nil {
			answers[i].Err = first[i].Err // of the statement as it was sent
		}
	}
	return answers, err
}

func asText(stmts []db.Statement, answers []db.QueryResult) (_ []db.Statement, changed bool) {
	for i := range answers {
		if answers[i].Err == nil {
			continue
		}
		if m := noSuchColumn.FindStringSubmatch(answers[i].Err.Error()); m != nil {
			text := "'" + strings.ReplaceAll(strings.Trim(m[1], `"`), "'", "''") + "'"
			changed = changed || strings.Contains(stmts[i].SQL, m[1])
			stmts[i].SQL = strings.ReplaceAll(stmts[i].SQL, m[1], text)
		}
	}
	return stmts, changed
}

func rqliteRows(a *db.QueryResult, q *rqliteQuery, left *int) *command.QueryRows {
	rows := a.Rows
	if a.Err == nil && a.Truncated {
		a.Err = controlplane.FieldErrorf("sql", "the answer has more than %d rows or %d bytes: narrow it by WHERE, or take it in parts by LIMIT and OFFSET", queryMaxRows, maxMessageBytes)
	}
	if a.Err == nil && q.has("associative") {
		// Names are repeated in each row.
		for _, name := range rows.GetColumns() {
			*left -= (len(name) + 4) * len(rows.GetValues())
		}
		if *left < 0 {
			a.Err = controlplane.FieldErrorf("associative", "the answer would have more than %d bytes: ask without it, or for fewer rows", maxSendBytes)
		}
	}
	if a.Err != nil {
		return &command.QueryRows{Error: a.Err.Error()}
	}
	for _, r := range rows.GetValues() {
		for _, p := range r.GetParameters() {
			if d, ok := p.GetValue().(*command.Parameter_D); ok && math.IsInf(d.D, 0) { // JSON has no such number
				p.Value = &command.Parameter_S{S: strconv.FormatFloat(d.D, 'g', -1, 64)}
			}
		}
	}
	rows.Types = typesOf(rows)
	if !q.has("timings") {
		rows.Time = 0
	}
	return rows
}

// typesOf returns the type of the first value of each column that is not NULL, as
// rqlite does for columns without a declared one. The tables are STRICT: it is the
// declared one.
func typesOf(rows *command.QueryRows) []string {
	types := make([]string, len(rows.GetColumns()))
	unknown := len(types)
	for _, r := range rows.GetValues() {
		for i, p := range r.GetParameters() {
			if types[i] == "" {
				if types[i] = typeOf(p); types[i] != "" {
					unknown--
				}
			}
		}
		if unknown == 0 {
			break
		}
	}
	return types
}

func typeOf(p *command.Parameter) string {
	switch p.GetValue().(type) {
	case *command.Parameter_I:
		return "integer"
	case *command.Parameter_D:
		return "real"
	case *command.Parameter_S:
		return "text"
	case *command.Parameter_Y:
		return "blob"
	}
	return ""
}

func writeRqlite(w http.ResponseWriter, pretty bool, v any) error {
	text, err := json.Marshal(v)
	if err == nil && pretty {
		text, err = json.MarshalIndent(v, "", "    ")
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(text) // it fails only if the client has gone
	return nil
}

// rqliteFailed answers what is no matter of one statement. Its clients turn to
// another member then, if they know one.
func (s *server) rqliteFailed(w http.ResponseWriter, ce *connect.Error) {
	status := http.StatusInternalServerError
	switch ce.Code() {
	case connect.CodeInvalidArgument:
		status = http.StatusBadRequest
	case connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeDeadlineExceeded:
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, ce.Message(), status)
}

func (s *server) rqliteRefuse(w http.ResponseWriter, r *http.Request) {
	msg := quoted(r.URL.Path) + " is not offered: by rqlite's API the state can be read only, by GET or POST /db/query and POST /db/request;" +
		" tasks are submitted and cancelled by TaskService"
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": msg, "results": []any{map[string]string{"error": msg}}})
}

// allowMethod answers other methods and reports whether it is one of the given.
func allowMethod(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	http.Error(w, fmt.Sprintf("%s takes %s, not %s", r.URL.Path, strings.Join(methods, " or "), quoted(r.Method)), http.StatusMethodNotAllowed)
	return false
}
