package service

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// newMessage makes a message of the Go type that has this name.
func newMessage(t testing.TB, name protoreflect.FullName) proto.Message {
	t.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return mt.New().Interface()
}

func TestEveryRuleOfTheContractIsKnown(t *testing.T) {
	for _, m := range allMethods() {
		c := &compiler{shapes: map[reflect.Type]*shape{}}
		if c.message(newMessage(t, m.Input().FullName()).ProtoReflect()); len(c.unknown) > 0 {
			t.Errorf("%s: rules that accept.go does not know, at %v, send each request that has these fields to protovalidate", m.FullName(), c.unknown)
		}
	}
}

// TestAccepts looks at good requests, and at those that break a rule each.
func TestAccepts(t *testing.T) {
	for name, body := range goodParts {
		m := newMessage(t, protoreflect.FullName("controlplane.v1."+name))
		if err := protojson.Unmarshal([]byte(body), m); err != nil {
			t.Fatal(err)
		}
		if !accepts(m) {
			t.Errorf("%s: %s is not recognised", name, body)
		}
	}
	for _, mistake := range ruleMistakes() {
		m := newMessage(t, methodOf(t, mistake.method).Input().FullName())
		if protojson.Unmarshal([]byte(mistake.body), m) == nil && accepts(m) != (protovalidate.Validate(m) == nil) {
			t.Errorf("%s: %s: accepted is %v", mistake.method, mistake.what, accepts(m))
		}
	}
}

func methodOf(t testing.TB, name string) protoreflect.MethodDescriptor {
	t.Helper()
	all := allMethods()
	i := slices.IndexFunc(all, func(m protoreflect.MethodDescriptor) bool { return pathOf(m) == "/controlplane.v1."+name })
	if i < 0 {
		t.Fatalf("there is no method %s", name)
	}
	return all[i]
}

// TestWhatHasNoStructIsNotAccepted looks at messages that are one Go type, whatever they are.
func TestWhatHasNoStructIsNotAccepted(t *testing.T) {
	for _, m := range []proto.Message{&v1.GetClusterRequest{}, &v1.SubmitTaskRequest{}} {
		if accepts(dynamicpb.NewMessage(m.ProtoReflect().Descriptor())) {
			t.Errorf("%s is accepted", m.ProtoReflect().Descriptor().FullName())
		}
	}
	if accepts(nil) || accepts((*v1.GetClusterRequest)(nil)) {
		t.Error("nothing is accepted")
	}
}

// FuzzAccepts looks for a request that is accepted and breaks a rule.
func FuzzAccepts(f *testing.F) {
	methods := allMethods()
	for n, m := range methods {
		for _, body := range seedBodies[string(m.Name())] {
			msg := newMessage(f, m.Input().FullName())
			if protojson.Unmarshal([]byte(body), msg) == nil {
				b, err := proto.Marshal(msg)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(uint8(n), b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		m := newMessage(t, methods[int(n)%len(methods)].Input().FullName())
		if proto.Unmarshal(body, m) != nil {
			return
		}
		if err := protovalidate.Validate(m); err != nil && accepts(m) {
			t.Errorf("accepted: %v: %v", m, err)
		}
	})
}

// contractPatterns are the patterns of all fields, and of what they hold.
func contractPatterns() []string {
	all := map[string]bool{}
	add := func(r *validate.FieldRules) { all[r.GetString().GetPattern()] = true }
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		fields := mt.Descriptor().Fields()
		for i := 0; mt.Descriptor().ParentFile().Package() == "controlplane.v1" && i < fields.Len(); i++ {
			r, _ := protovalidate.ResolveFieldRules(fields.Get(i))
			for _, r := range []*validate.FieldRules{r, r.GetRepeated().GetItems(), r.GetMap().GetKeys(), r.GetMap().GetValues()} {
				add(r)
			}
		}
		return true
	})
	delete(all, "")
	return slices.Sorted(maps.Keys(all))
}

// TestMatcher compares with regular expressions, over texts that are nearly right.
func TestMatcher(t *testing.T) {
	of := contractPatterns()
	if len(of) < 4 {
		t.Fatalf("patterns of the contract: %q", of)
	}
	others := []string{"", "a", "^a", "^a|b$", "^(?i)ab$", "(?i)^a$", "^[a-z]+$", "^[a-c]*[0-9]$", "^é$", "^[^a]$", "^a{0,2}b$", "^[ab]{0,2}b$", "^(a|bc)?$", "^ab?$", "^[ab]{2,}$", "^$", "^()$", "^(a[b-]{1,2})?$", "(?m)^a$", "^a.$", "^(?:ab)?c$", `^\.a$`}
	chance := rand.New(rand.NewPCG(1, 2))
	for _, pattern := range append(of, others...) {
		re := regexp.MustCompile(pattern)
		matches, err := matcher(pattern)
		if err != nil {
			t.Fatal(err)
		}
		texts := []string{"", "\n", "a\n", "é", "\x00", "\xff", "a", "ab", "abc", "AB", "b", "bb", "ac", "c", ".a", "a-", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
		for n := range 130 {
			texts = append(texts, strings.Repeat("a", n), strings.Repeat("a", n)+"!", "-"+strings.Repeat("a", n))
		}
		for range 2000 {
			text := []byte(texts[chance.IntN(len(texts))])
			for i := range text {
				if chance.IntN(20) == 0 {
					text[i] = byte(chance.IntN(256))
				}
			}
			texts = append(texts, string(text))
		}
		texts = append(texts, strings.Repeat(" ", 512), strings.Repeat("~", 513))
		for _, text := range texts {
			if got, want := matches(text), re.MatchString(text); got != want {
				t.Errorf("%s matches %q: %v, want %v", pattern, text, got, want)
			}
		}
	}
	for _, pattern := range of {
		parsed, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil || !new(places).read(parsed) {
			t.Errorf("%s is matched by a regular expression, which is slow: see matcher", pattern)
		}
	}
	if _, err := matcher("("); err == nil {
		t.Error("half a pattern is taken")
	}
}

// TestAcceptingTakesNoMemory guards the way of nearly every request.
func TestAcceptingTakesNoMemory(t *testing.T) {
	m := benchSubmissions(2)
	if n := testing.AllocsPerRun(100, func() { accepts(m) }); n != 0 || !accepts(m) {
		t.Errorf("%v allocations for two tasks, accepted: %v", n, accepts(m))
	}
}

func benchSubmissions(n int) *v1.SubmitTasksRequest {
	task := &v1.Task{Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "f", Payload: make([]byte, 256)}}}
	m := &v1.SubmitTasksRequest{}
	for range n {
		m.Requests = append(m.Requests, &v1.SubmitTaskRequest{Task: task, RequestId: "0197b0a4-0000-7000-8000-000000000000"})
	}
	return m
}

// BenchmarkValidate validates a batch of 30 tasks, quickly and by protovalidate alone.
func BenchmarkValidate(b *testing.B) {
	m := benchSubmissions(30)
	for name, v := range map[string]protovalidate.Validator{"quick": quickValidator{}, "protovalidate": protovalidate.GlobalValidator} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := v.Validate(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
