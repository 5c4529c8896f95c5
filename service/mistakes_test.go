package service

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/scheduler"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// mistake is one bad call.
type mistake struct {
	group  string
	what   string // what is wrong with it
	method string // such as TaskService/SubmitTask
	body   string // JSON, unless the header says otherwise
	header []string
	show   string // what to show of the call, if not its body

	verb, path string // POST and the method's, if empty
	proto      string // the protocol, Connect's JSON if empty
	raw        []byte // the message, instead of body in the protocol's form
	flags      byte   // of its frame
	unframed   bool   // its bytes are sent without a frame
	chunked    bool   // its length is not told beforehand
	token      bool   // it goes to the member that has a token
	plain      bool   // the answer is text
	batch      bool   // the call is accepted, and items of it are refused
}

// TestMistakes makes every mistake that we could think of, and compares what the
// caller is told with testdata/mistakes.txt, which is to be read: each answer
// should name the field, the limit and what to do. Nothing of it may change the
// state.
func TestMistakes(t *testing.T) {
	open, locked := patient(t), patient(t, withToken)
	furnish(t, open)
	before, lockedBefore := tableHash(t, open), tableHash(t, locked)
	all := allMistakes(open)
	var out strings.Builder
	group, kinds := "", 0
	for _, c := range all {
		if c.group != group {
			fmt.Fprintf(&out, "%s%s\n%s\n\n", strings.Repeat("\n", min(kinds, 1)), c.group, strings.Repeat("=", len(c.group)))
			group = c.group
		}
		m := open
		if c.token {
			m = locked
		}
		out.WriteString(c.transcript(m))
		if now := tableHash(t, open); now != before {
			t.Errorf("%s: %s: it changed the state", c.method, c.what)
			before = now
		}
		kinds++
	}
	if kinds < 150 {
		t.Errorf("only %d mistakes are made", kinds)
	}
	t.Logf("%d mistakes", kinds)
	compareGolden(t, "mistakes.txt", out.String())
	if tableHash(t, locked) != lockedBefore {
		t.Error("calls without the token changed the state")
	}
}

// patient is solo with leases that do not run out while the test goes on, which
// would change the state by itself.
func patient(t *testing.T, change ...func(*Config)) *member {
	t.Helper()
	m := newMember(t, "solo")
	m.schedule = scheduler.Options{Gather: -1, Lease: time.Hour, AssignTimeout: time.Hour, PollGrace: time.Nanosecond}
	for _, c := range change {
		c(&m.conf)
	}
	m.start()
	if err := m.tasks.AwaitWritable(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return m
}

// compareGolden compares with a file under testdata, or writes it.
func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		g, w := lineAt(gotLines, i), lineAt(wantLines, i)
		if g != w {
			t.Fatalf("%s:%d: got\n  %s\nwant\n  %s\nIf that is right: go test ./service -run %s -rewrite, and read the difference", path, i+1, g, w, t.Name())
		}
	}
}

func lineAt(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(the end)"
}

// furnish puts something into the state that calls can be wrong about.
func furnish(t *testing.T, m *member) {
	t.Helper()
	ctx := testContext(t)
	m.register("n1", "s1", 4)
	m.register("n2", "s-old", 4)
	m.register("n2", "s-new", 4)
	for _, id := range []string{"running", "done"} {
		m.submit(id)
	}
	if res, err := m.poll("n1", "s1", 20*time.Second); err != nil || len(res.GetTasks()) != 2 {
		t.Fatalf("poll: %v, %v", res, err)
	}
	report := &v1.ReportTaskResultRequest{TaskId: "done", Attempt: 1, NodeId: "n1", SessionId: "s1", Status: v1.TaskStatus_TASK_STATUS_COMPLETED, Result: []byte("1")}
	if _, err := m.nodeClient().ReportTaskResult(ctx, connect.NewRequest(report)); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		m.submit(fmt.Sprintf("waiting-%d", i+1))
	}
	keyed := &v1.SubmitTaskRequest{RequestId: "key-1", Task: echo("keyed")}
	if _, err := m.taskClient().SubmitTask(ctx, connect.NewRequest(keyed)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.taskClient().CancelTask(ctx, connect.NewRequest(&v1.CancelTaskRequest{Id: "waiting-3"})); err != nil {
		t.Fatal(err)
	}
}

// tableHash hashes all tables but the one that says how far the log is applied.
func tableHash(t *testing.T, m *member) string {
	t.Helper()
	sum := sha256.New()
	_, err := m.engine.Read(testContext(t), db.ReadOptions{}, func(c db.Conn) error {
		tables, err := c.Query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'raft_state' ORDER BY name")
		if err != nil {
			return err
		}
		var names []string
		for tables.Next() {
			names = append(names, tables.Text(0))
		}
		if err := tables.Close(); err != nil {
			return err
		}
		for _, name := range names {
			rows, err := c.Query("SELECT * FROM " + name + " ORDER BY 1, 2")
			if err != nil {
				return err
			}
			for rows.Next() {
				for i := range rows.Columns() {
					v := rows.Value(i)
					fmt.Fprintf(sum, "%s %d %q|", name, v.Kind, v.String())
				}
			}
			if err := rows.Close(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// transcript makes the call and writes down what was said on both sides.
func (c mistake) transcript(m *member) string {
	res := c.do(m)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		m.t.Fatalf("%s: %v", c.what, err)
	}
	var b strings.Builder
	by := ""
	if c.proto != "" {
		by = " by " + c.proto
	}
	fmt.Fprintf(&b, "%s%s: %s\n", c.method, by, c.what)
	for _, line := range c.shown() {
		fmt.Fprintf(&b, "  > %s\n", line)
	}
	for _, line := range answerLines(m.t, c, res, text) {
		fmt.Fprintf(&b, "  %s\n", steady(m, line))
	}
	return b.String() + "\n"
}

func (c mistake) do(m *member) *http.Response {
	m.t.Helper()
	if c.proto != "" {
		return c.doWire(m)
	}
	verb, path := c.verb, c.path
	if verb == "" {
		verb = http.MethodPost
	}
	if path == "" {
		path = "/controlplane.v1." + c.method
	}
	req, err := http.NewRequestWithContext(testContext(m.t), verb, m.url()+path, strings.NewReader(c.body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(c.header); i += 2 {
		if c.header[i] == "Host" {
			req.Host = c.header[i+1]
		}
		req.Header.Set(c.header[i], c.header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatalf("%s: %v", c.what, err)
	}
	return res
}

// shown is what of the call the file shows.
func (c mistake) shown() (lines []string) {
	for i := 0; i+1 < len(c.header); i += 2 {
		lines = append(lines, short(c.header[i]+": "+c.header[i+1]))
	}
	switch {
	case c.show != "":
		return append(lines, c.show)
	case c.path != "":
		verb := c.verb
		if verb == "" {
			verb = http.MethodPost
		}
		lines = append(lines, short(verb+" "+c.path))
	case c.verb != "":
		lines = append(lines, c.verb)
	}
	if c.body != "" {
		lines = append(lines, short(c.body))
	}
	return lines
}

var repeats = regexp.MustCompile(`x{40,}|A{40,}|(\{"task_id":"x","attempt":1\},?){3,}|("k\d+":"v",?){5,}`)

// short shortens what a call repeats.
func short(s string) string {
	s = repeats.ReplaceAllStringFunc(s, func(r string) string { return fmt.Sprintf("%.24s…%d bytes…", r, len(r)) })
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:150], "") + "…" + strings.ToValidUTF8(s[len(s)-60:], "")
	}
	return printable(s)
}

// printable shows bytes that are no text as escapes.
func printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || r < ' ' {
			fmt.Fprintf(&b, "\\x%02x", s[i])
		} else {
			b.WriteRune(r)
		}
		i += size
	}
	return strings.TrimSpace(b.String())
}

// answerLines is the status, the code, the message, and the details.
func answerLines(t testing.TB, c mistake, res *http.Response, text []byte) []string {
	if c.plain || c.batch {
		return append([]string{fmt.Sprintf("HTTP %d", res.StatusCode)}, strings.Split(compactJSON(bytes.TrimSpace(text)), "\n")...)
	}
	var e struct {
		Code, Message string
		Details       []struct {
			Type  string
			Value string // base64 without padding
		}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&e); err != nil || e.Code == "" || e.Message == "" {
		t.Errorf("%s: %s: the answer is HTTP %d %.300q", c.method, c.what, res.StatusCode, text)
		return []string{fmt.Sprintf("HTTP %d", res.StatusCode), compactJSON(text)}
	}
	lines := []string{fmt.Sprintf("HTTP %d %s", res.StatusCode, e.Code), e.Message}
	for _, d := range e.Details {
		lines = append(lines, detailLine(t, d.Type, d.Value)...)
	}
	return lines
}

// detailLine writes a structured detail as a line, or one for each field.
func detailLine(t testing.TB, name, value string) (lines []string) {
	m := map[string]proto.Message{
		"google.rpc.BadRequest": &errdetails.BadRequest{}, "google.rpc.ErrorInfo": &errdetails.ErrorInfo{}, "google.rpc.RetryInfo": &errdetails.RetryInfo{},
	}[name]
	if m == nil {
		t.Fatalf("detail of type %s", name)
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
	if err = errors.Join(err, proto.Unmarshal(raw, m)); err != nil {
		t.Fatal(err)
	}
	switch m := m.(type) {
	case *errdetails.BadRequest:
		for _, v := range m.GetFieldViolations() {
			lines = append(lines, fmt.Sprintf("BadRequest %s: %s", v.GetField(), v.GetDescription()))
		}
	case *errdetails.ErrorInfo:
		lines = append(lines, fmt.Sprintf("ErrorInfo %s of %s", m.GetReason(), m.GetDomain()))
	case *errdetails.RetryInfo:
		lines = append(lines, fmt.Sprintf("RetryInfo %s", m.GetRetryDelay().AsDuration()))
	}
	return lines
}

// randomIDs are those of clusters and of members' incarnations.
var randomIDs = regexp.MustCompile(`\b[0-9a-f]{12,16}\b`)

// steady replaces what differs from run to run.
func steady(m *member, line string) string {
	return randomIDs.ReplaceAllString(strings.ReplaceAll(line, m.cfg.Advertise, "ADDRESS"), "ID")
}

// nextPage returns the token of a list's next page.
func (m *member) nextPage(method, body string) string {
	m.t.Helper()
	_, _, answer := m.post(method, body)
	token, _ := answer["nextPageToken"].(string)
	if token == "" {
		m.t.Fatalf("%s %s gives no token: %v", method, body, answer)
	}
	return token
}

func listTasks() *v1.ListTasksRequest { return &v1.ListTasksRequest{Queue: "default"} }

// flip changes one bit of a token.
func flip(m *member, token string) string {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		m.t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	return base64.RawURLEncoding.EncodeToString(raw)
}

func jsonText(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return string(b)
}

// compactJSON leaves out the spaces that protojson puts in, of which each build of it
// puts others, so that nobody relies on its bytes.
func compactJSON(text []byte) string {
	var out bytes.Buffer
	if json.Compact(&out, text) != nil {
		return string(text)
	}
	return out.String()
}
