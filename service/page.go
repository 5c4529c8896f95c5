package service

import (
	"net/http"
	"strings"

	"github.com/raft-control-plane/control-plane/web"
)

const indexPage = "/index.html"

// isPage tells requests for the files of the dashboard. They need no token: they are
// the same for everybody, and the page asks for the token that its calls need. The
// list that GET / is for others needs one, since it tells the version.
func isPage(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	return r.URL.Path == "/" && wantsPage(r) || web.Has(r.URL.Path)
}

// wantsPage tells browsers, which name HTML, from curl and its like, which take
// anything.
func wantsPage(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// page serves a file of the dashboard.
func page(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if path == "/" {
		path = indexPage
	}
	web.Serve(w, r, path)
}
