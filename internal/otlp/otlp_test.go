package otlp

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if k, v, _ := strings.Cut(p, "="); k == name {
				return v
			}
		}
		return ""
	}
}

func TestNothingIsExportedUnlessAskedFor(t *testing.T) {
	for _, given := range [][]string{
		nil,
		{"OTEL_SERVICE_NAME=x", "OTEL_TRACES_EXPORTER=otlp"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "OTEL_SDK_DISABLED=true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "OTEL_TRACES_EXPORTER=none"},
	} {
		if c, err := FromEnv(env(given...), ""); c != nil || err != nil {
			t.Errorf("%v gives %+v, %v", given, c, err)
		}
	}
}

func TestWhereSpansGo(t *testing.T) {
	for _, c := range []struct {
		flag  string
		given []string
		want  string
	}{
		{"", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"}, "http://c:4318/v1/traces"},
		{"", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=https://c/otlp/"}, "https://c/otlp/v1/traces"},
		{"", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t/spans"}, "http://t/spans"},
		{"http://f:1", []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t/spans"}, "http://f:1/v1/traces"},
	} {
		got, err := FromEnv(env(c.given...), c.flag)
		if err != nil || got.URL != c.want {
			t.Errorf("%q and %v give %+v, %v, want %s", c.flag, c.given, got, err, c.want)
		}
	}
}

func TestMistakesAreReportedTogether(t *testing.T) {
	_, err := FromEnv(env("OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_TIMEOUT=10s",
		"OTEL_EXPORTER_OTLP_COMPRESSION=zstd", "OTEL_EXPORTER_OTLP_HEADERS=secret", "OTEL_EXPORTER_OTLP_CERTIFICATE=/nowhere", "OTEL_TRACES_EXPORTER=zipkin"), "")
	if err == nil {
		t.Fatal("they are taken")
	}
	for _, want := range []string{`OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4317/v1/traces" is no URL`, `PROTOCOL: "grpc" is not spoken here: give http/protobuf`,
		`TIMEOUT: "10s"`, `COMPRESSION: "zstd"`, "HEADERS: is not of the form", "CERTIFICATE: open /nowhere", `EXPORTER: "zipkin"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("it shows what may be secret: %v", err)
	}
}

// collector answers with the given statuses, and then 200.
func collector(t *testing.T, statuses ...int) (url string, names chan string, asked *http.Header) {
	names, asked = make(chan string, 100), &http.Header{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = r.Header.Clone()
		if len(statuses) > 0 {
			w.WriteHeader(statuses[0])
			statuses = statuses[1:]
			return
		}
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		all, _ := io.ReadAll(body)
		var m tracepb.TracesData
		if err := proto.Unmarshal(all, &m); err != nil {
			t.Errorf("%s: %v", r.URL, err)
		}
		for _, rs := range m.GetResourceSpans() {
			who := ""
			for _, a := range rs.GetResource().GetAttributes() {
				if a.GetKey() == "service.name" || a.GetKey() == "service.instance.id" {
					who += a.GetValue().GetStringValue() + " "
				}
			}
			for _, ss := range rs.GetScopeSpans() {
				for _, span := range ss.GetSpans() {
					names <- who + span.GetName()
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, names, asked
}

func TestSpansArrive(t *testing.T) {
	url, names, asked := collector(t, http.StatusServiceUnavailable)
	cfg, err := FromEnv(env("OTEL_EXPORTER_OTLP_ENDPOINT="+url, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20x, b=2", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip"), "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProvider(t.Context(), cfg, Service{Name: "raft-node", Instance: "m1", Version: "v"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, span := p.Tracer("test").Start(t.Context(), "hello")
	span.End()
	if err := p.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	select { // Shutdown has waited for it
	case got := <-names:
		if got != "m1 raft-node hello" && got != "raft-node m1 hello" {
			t.Errorf("arrived: %q", got)
		}
	default:
		t.Error("nothing arrived")
	}
	if asked.Get("Authorization") != "Bearer x" || asked.Get("B") != "2" || asked.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("the headers: %v", *asked)
	}
}

func TestARefusalIsNotRepeated(t *testing.T) {
	url, _, _ := collector(t, http.StatusBadRequest)
	c := newClient(&Config{URL: url, Timeout: defaultTimeout})
	if err := c.UploadTraces(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "HTTP 400") {
		t.Errorf("it ended with %v", err)
	}
}
