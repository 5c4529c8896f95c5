package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// maxBytes is what the whole dashboard may weigh on the wire.
const maxBytes = 120 << 10

func get(t *testing.T, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Serve(w, r, path)
	return w.Result()
}

func content(t *testing.T, r *http.Response) string {
	t.Helper()
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		body = unpacked
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryFileIsServed(t *testing.T) {
	weight := 0
	for path, f := range files() {
		plain, packed := get(t, path), get(t, path, "Accept-Encoding", "br, gzip")
		if plain.StatusCode != http.StatusOK || packed.StatusCode != http.StatusOK || plain.Header.Get("Content-Encoding") != "" || packed.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: %d %v, %d %v", path, plain.StatusCode, plain.Header, packed.StatusCode, packed.Header)
		}
		if a, b := content(t, plain), content(t, packed); a != b || a != string(f.plain) {
			t.Errorf("%s: is not the same packed", path)
		}
		if f.contentType == "" || plain.Header.Get("Content-Type") != f.contentType {
			t.Errorf("%s: content type %q", path, plain.Header.Get("Content-Type"))
		}
		weight += len(f.packed())
	}
	if weight == 0 || weight > maxBytes {
		t.Errorf("all files have %d bytes packed, at most %d are allowed: see what was added to the page", weight, maxBytes)
	}
}

func TestCaching(t *testing.T) {
	for path := range files() {
		want := "public, max-age=31536000, immutable"
		if path == "/index.html" {
			want = "no-cache"
		}
		first := get(t, path)
		if got := first.Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		if again := get(t, path, "If-None-Match", first.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %d", path, again.StatusCode)
		}
		if packed := get(t, path, "If-None-Match", first.Header.Get("ETag"), "Accept-Encoding", "gzip"); packed.StatusCode != http.StatusOK {
			t.Errorf("%s: packed and plain share a tag", path)
		}
	}
}

// The page must do with its Content-Security-Policy: nothing inline, nothing of others.
func TestPageKeepsToItsPolicy(t *testing.T) {
	r := get(t, "/index.html")
	policy := r.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
		t.Errorf("policy %q", policy)
	}
	page := content(t, r)
	for _, tag := range regexp.MustCompile(`<(script|style|link)[^>]*>`).FindAllString(page, -1) {
		if strings.HasPrefix(tag, "<style") || strings.HasPrefix(tag, "<script") && !strings.Contains(tag, ` src="./assets/`) || strings.Contains(tag, "//") {
			t.Errorf("the page has %s", tag)
		}
	}
	for _, ref := range regexp.MustCompile(`"\./(assets/[^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !Has("/" + ref[1]) {
			t.Errorf("the page asks for %s, which is not there: run make web", ref[1])
		}
	}
	if regexp.MustCompile(` on[a-z]+=| style=`).MatchString(page) {
		t.Errorf("the page has an inline handler or style:\n%s", page)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	for _, path := range []string{"/", "/assets/", "/assets", "/assets/../web.go", "/web.go", "//index.html", ""} {
		if Has(path) {
			t.Errorf("%q is there", path)
		}
	}
	w := httptest.NewRecorder()
	Serve(w, httptest.NewRequest(http.MethodGet, "/assets/nothing", http.NoBody), "/assets/nothing")
	if w.Code != http.StatusNotFound {
		t.Errorf("%d", w.Code)
	}
}

func TestTakesGzip(t *testing.T) {
	for header, want := range map[string]bool{
		"gzip": true, "gzip, deflate, br": true, "br;q=1.0, gzip;q=0.8": true, "gzip; q=1": true,
		"": false, "br": false, "identity": false, "gzip;q=0": false, "gzip;q=0.0": false, "xgzip": false,
	} {
		if takesGzip(header) != want {
			t.Errorf("%q: want %v", header, want)
		}
	}
}
