package service

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const browserAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// page asks as a browser does, or as curl does if accept is "*/*".
func (m *member) page(method, path, accept string, header ...string) (int, http.Header, string) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(testContext(m.t), method, m.url()+path, http.NoBody)
	if err != nil {
		m.t.Fatal(err)
	}
	code, h, body := m.roundTrip(req, append([]string{"Accept", accept}, header...)...)
	text, _ := body["text"].(string)
	return code, h, text
}

var scriptPath = regexp.MustCompile(`assets/[^"]+\.js`)

func TestBrowsersGetTheDashboard(t *testing.T) {
	m := solo(t)
	code, h, page := m.page(http.MethodGet, "/", browserAccept)
	if code != 200 || !strings.HasPrefix(h.Get("Content-Type"), "text/html") || !strings.Contains(page, "<!doctype html>") {
		t.Fatalf("%d %v %.200s", code, h, page)
	}
	if h.Get("Cache-Control") != "no-cache" || !strings.Contains(h.Get("Content-Security-Policy"), "script-src 'self'") {
		t.Errorf("%v", h)
	}
	if vary := strings.Join(h.Values("Vary"), ","); !strings.Contains(vary, "Accept,") && !strings.HasSuffix(vary, "Accept") {
		t.Errorf("caches may mix it up with the list: Vary %q", vary)
	}
	code, h, script := m.page(http.MethodGet, "/"+scriptPath.FindString(page), "*/*")
	if code != 200 || !strings.HasPrefix(h.Get("Content-Type"), "text/javascript") || !strings.Contains(h.Get("Cache-Control"), "immutable") || script == "" {
		t.Errorf("script: %d %v", code, h)
	}
	if code, h, text := m.page(http.MethodGet, "/", "*/*"); code != 200 || !strings.Contains(text, "SubmitTask") || !strings.HasPrefix(h.Get("Content-Type"), "text/plain") {
		t.Errorf("curl: %d %v %.100s", code, h, text)
	}
	if code, _, _ := m.page(http.MethodGet, "/assets/nothing.js", "*/*"); code != http.StatusNotFound {
		t.Errorf("an asset that is not there: %d", code)
	}
}

// The files are the same for everybody: no token is asked for, and none of what needs
// one comes with them.
func TestDashboardNeedsNoTokenAndOpensNothingElse(t *testing.T) {
	m := solo(t, withToken)
	code, _, page := m.page(http.MethodGet, "/", browserAccept)
	if code != 200 {
		t.Fatalf("%d", code)
	}
	script := "/" + scriptPath.FindString(page)
	if code, _, _ := m.page(http.MethodHead, script, "*/*"); code != 200 {
		t.Errorf("HEAD %s: %d", script, code)
	}
	for _, r := range [][3]string{
		{http.MethodGet, "/", "*/*"}, {http.MethodPost, "/", browserAccept}, {http.MethodPost, script, browserAccept},
		{http.MethodGet, "/metrics", browserAccept}, {http.MethodGet, "/assets/nothing.js", browserAccept}, {http.MethodGet, "/assets/", browserAccept},
		{http.MethodGet, "/nodes", browserAccept}, {http.MethodGet, "/web.go", browserAccept},
	} {
		if code, _, _ := m.page(r[0], r[1], r[2]); code != http.StatusUnauthorized {
			t.Errorf("%s %s as %.10s without a token: %d", r[0], r[1], r[2], code)
		}
	}
}

func TestDashboardIsForHostsOfThisMachine(t *testing.T) {
	m := solo(t)
	for _, path := range []string{"/", "/index.html"} {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, m.url()+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "evil.com"
		if code, _, _ := m.roundTrip(req, "Accept", browserAccept); code != http.StatusForbidden {
			t.Errorf("%s: %d", path, code)
		}
	}
}
