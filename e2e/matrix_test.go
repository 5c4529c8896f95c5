package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// contract is the package whose methods are called.
const contract = "controlplane.v1"

// wire is a way to a member: a version of HTTP, in plaintext or over TLS.
type wire struct {
	name    string
	c       *cluster
	secrets *secrets // nil in plaintext
	member  string
	leader  string
	client  *http.Client
}

// caller calls a method with a message in JSON and hands each answer to take, until
// that returns true.
type caller func(ctx context.Context, w *wire, method protoreflect.MethodDescriptor, in string, take func(text string) bool) error

// protocol is a way to call.
type protocol struct {
	name string
	// does reports whether the protocol can carry the method over the wire.
	does func(w *wire, method protoreflect.MethodDescriptor) bool
	call caller
}

// TestMatrix calls every method of the contract in every protocol over every wire,
// at a follower. `go test -v -run Matrix ./e2e` prints the table.
func TestMatrix(t *testing.T) {
	methods := contractMethods()
	checkSamples(t, methods)
	wires := newWires(t)
	seedMatrix(t, wires)
	table := newMatrixTable(methods)
	for _, method := range methods {
		for _, p := range matrixProtocols() {
			for _, w := range wires {
				if !p.does(w, method) {
					continue
				}
				name := methodName(method)
				id := cellID(name, p, w)
				err := matrixSamples[name].run(w, p, method, id)
				if err != nil {
					t.Errorf("%s by %s over %s: %v", name, p.name, w.name, err)
				}
				table.add(name, p.name, w.name, err)
			}
		}
	}
	t.Logf("every method, by protocol and wire:\n%s", table)
}

// cellID is what the subject of a call is named.
func cellID(method string, p protocol, w *wire) string {
	return strings.NewReplacer("/", "-", " ", "-").Replace(strings.Join([]string{method, p.name, w.name}, "-"))
}

// contractMethods are all methods of all services, whichever there are.
func contractMethods() []protoreflect.MethodDescriptor {
	var all []protoreflect.MethodDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage(contract, func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				all = append(all, methods.Get(j))
			}
		}
		return true
	})
	slices.SortFunc(all, func(a, b protoreflect.MethodDescriptor) int { return strings.Compare(methodName(a), methodName(b)) })
	return all
}

// methodName is "TaskService/GetTask".
func methodName(m protoreflect.MethodDescriptor) string {
	return string(m.Parent().Name()) + "/" + string(m.Name())
}

func procedure(m protoreflect.MethodDescriptor) string { return "/" + contract + "." + methodName(m) }

// isRead reports whether the contract says that a method changes nothing.
func isRead(m protoreflect.MethodDescriptor) bool {
	return m.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
}

// checkSamples fails for a method that has no sample, and for the reverse.
func checkSamples(t *testing.T, methods []protoreflect.MethodDescriptor) {
	t.Helper()
	left := map[string]bool{}
	for name := range matrixSamples {
		left[name] = true
	}
	for _, m := range methods {
		if m.IsStreamingClient() {
			t.Errorf("%s streams requests: the matrix has to learn that", methodName(m))
		}
		if !left[methodName(m)] {
			t.Errorf("%s has no sample: add a request and what to look for in the answer to matrixSamples", methodName(m))
		}
		delete(left, methodName(m))
	}
	for name := range left {
		t.Errorf("there is a sample of %s, which the contract does not have", name)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// newWires starts a cluster in plaintext and one with TLS and a token.
func newWires(t *testing.T) []*wire {
	plain := newCluster(t, 3)
	secure, sec := newSecureCluster(t, 3)
	plainLeader, plainFollowers := plain.leader()
	secureLeader, secureFollowers := secure.leader()
	return []*wire{
		newWire(t, &wire{name: "1.1", c: plain, member: plainFollowers[0], leader: plainLeader}, "HTTP/1.1"),
		newWire(t, &wire{name: "h2c", c: plain, member: plainFollowers[0], leader: plainLeader}, "HTTP/2.0"),
		newWire(t, &wire{name: "h2-TLS", c: secure, secrets: sec, member: secureFollowers[0], leader: secureLeader}, "HTTP/2.0"),
	}
}

func newWire(t *testing.T, w *wire, version string) *wire {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	switch {
	case version == "HTTP/1.1":
		tr.Protocols.SetHTTP1(true)
	case w.secrets != nil:
		tr.Protocols.SetHTTP2(true)
	default:
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	if w.secrets != nil {
		tr.TLSClientConfig = w.secrets.tls()
	}
	t.Cleanup(tr.CloseIdleConnections)
	w.client = &http.Client{Transport: versioned{tr, version, w.c.token}}
	return w
}

// versioned adds the token, and refuses an answer by another version of HTTP than
// the table is to say.
type versioned struct {
	http.RoundTripper
	version, token string
}

func (v versioned) RoundTrip(req *http.Request) (*http.Response, error) {
	if v.token != "" {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Bearer "+v.token)
	}
	resp, err := v.RoundTripper.RoundTrip(req)
	if err == nil && resp.Proto != v.version {
		resp.Body.Close()
		return nil, fmt.Errorf("answered by %s, want %s", resp.Proto, v.version)
	}
	return resp, err
}

func (w *wire) url(path string) string { return w.c.scheme + "://" + w.c.addresses[w.member] + path }

// run makes one call and looks for what the answer must hold.
func (s sample) run(w *wire, p protocol, method protoreflect.MethodDescriptor, id string) error {
	if s.prepare != nil {
		if err := s.prepare(w.c, w.member, id); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	fill := strings.NewReplacer("$ID", id, "$LEADER", w.leader, "$ADDRESS", w.c.addresses[w.leader])
	want := fill.Replace(s.want)
	var found bool
	var last string
	err := p.call(ctx, w, method, fill.Replace(s.in), func(text string) bool {
		last = withoutSpaces(text)
		found = strings.Contains(last, want)
		return found
	})
	if err == nil && !found {
		err = fmt.Errorf("the answer holds no %s:\n%s", want, last)
	}
	return err
}

// withoutSpaces takes out of JSON the spaces that protojson adds at random.
func withoutSpaces(text string) string {
	var plain bytes.Buffer
	if json.Compact(&plain, []byte(text)) != nil {
		return text
	}
	return plain.String()
}

// matrixTable is what was called, with the wires over which it worked.
type matrixTable struct {
	rows  []string
	cells map[[2]string][]string
}

func newMatrixTable(methods []protoreflect.MethodDescriptor) *matrixTable {
	t := &matrixTable{cells: map[[2]string][]string{}}
	for _, m := range methods {
		t.rows = append(t.rows, methodName(m))
	}
	return t
}

func (t *matrixTable) add(method, protocol, wire string, err error) {
	if err != nil {
		wire = "FAILED:" + wire
	}
	key := [2]string{method, protocol}
	t.cells[key] = append(t.cells[key], wire)
}

func (t *matrixTable) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "METHOD")
	for _, p := range matrixProtocols() {
		fmt.Fprintf(w, "\t%s", p.name)
	}
	for _, row := range t.rows {
		fmt.Fprintf(w, "\n%s", row)
		for _, p := range matrixProtocols() {
			cell := strings.Join(t.cells[[2]string{row, p.name}], " ")
			fmt.Fprintf(w, "\t%s", cmp.Or(cell, "-"))
		}
	}
	fmt.Fprintln(w)
	_ = w.Flush() // to memory
	return text.String()
}
