package service

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAPanicIsLogged: where Connect does not see it, the log of a member says so all the same.
func TestAPanicIsLogged(t *testing.T) {
	for what, c := range map[string]struct {
		panics any
		logged string
	}{
		"a fault":           {"no such thing", "no such thing"},
		"the end of a call": {http.ErrAbortHandler, ""},
	} {
		var log bytes.Buffer
		s := &server{log: slog.New(slog.NewTextHandler(&log, nil))}
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
					t.Errorf("%s: net/http is left with %v", what, p)
				}
			}()
			s.notePanics(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(c.panics) })).
				ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/somewhere", nil))
		}()
		if text := log.String(); (text != "") != (c.logged != "") || !strings.Contains(text, c.logged) ||
			c.logged != "" && (!strings.Contains(text, "/somewhere") || !strings.Contains(text, "level=ERROR")) {
			t.Errorf("%s: %s", what, text)
		}
	}
}

// TestAPanicInABatch ends one call and neither the others nor the member.
func TestAPanicInABatch(t *testing.T) {
	var log bytes.Buffer
	s := &server{log: slog.New(slog.NewTextHandler(&log, nil))}
	calls := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == gathered[0] {
			panic("no such thing")
		}
		_, _ = io.WriteString(w, "done")
	})
	var body bytes.Buffer
	for _, path := range []string{gathered[0], gathered[1]} {
		req := httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}"))
		req.Header.Set(hopHeader, "1")
		if err := req.Write(&body); err != nil {
			t.Fatal(err)
		}
	}
	req := httptest.NewRequest(http.MethodPost, batchPath, &body)
	req.Header.Set(hopHeader, "1")
	w := httptest.NewRecorder()
	s.batch(calls).ServeHTTP(w, req)
	r := bufio.NewReader(w.Body)
	res, i, err := readResponse(r, 2)
	if err != nil || i != 1 {
		t.Fatalf("call %d, %v", i, err)
	}
	text, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil || string(text) != "done" {
		t.Errorf("%q, %v", text, err)
	}
	if _, _, err := readResponse(r, 2); err == nil {
		t.Error("the call that has panicked is answered")
	}
	if !strings.Contains(log.String(), "no such thing") {
		t.Error("it is not logged: ", log.String())
	}
}
