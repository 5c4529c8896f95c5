// Package web is the dashboard: a page for browsers, written in TypeScript under src/
// and built by `make web` into dist/, which is embedded here. It calls the member that
// served it over gRPC-Web, as any client does.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed dist
var dist embed.FS

// policy lets the page load and call nothing but what its own member serves. No
// script or style stands in the page itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// file is one file of the build, as it is sent.
type file struct {
	plain       []byte
	packed      func() []byte // once, when a browser first comes
	contentType string
	etag        string
	caching     string
}

// contentTypes are those of the build's files; what the system says of endings differs.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
}

// files are all files by their paths.
var files = sync.OnceValue(func() map[string]file {
	all := map[string]file{}
	err := fs.WalkDir(dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := dist.ReadFile(name)
		if err == nil {
			all[strings.TrimPrefix(name, "dist")] = newFile(name, content)
		}
		return err
	})
	if err != nil {
		panic(err) // what is embedded can be read
	}
	return all
})

func newFile(name string, content []byte) file {
	sum := sha256.Sum256(content)
	f := file{
		plain:       content,
		packed:      sync.OnceValue(func() []byte { return packed(content) }),
		contentType: contentTypes[path.Ext(name)],
		etag:        hex.EncodeToString(sum[:8]),
		caching:     "no-cache", // asks each time, and mostly hears that nothing has changed
	}
	if strings.HasPrefix(name, "dist/assets/") {
		f.caching = "public, max-age=31536000, immutable" // its name has a hash of its content
	}
	return f
}

// packed is not committed beside what it is made of: gzip's versions differ in what
// they make.
func packed(content []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is one of gzip's
	}
	_, _ = w.Write(content) // a buffer takes all
	_ = w.Close()
	return out.Bytes()
}

// Has reports whether a path is that of a file: "/index.html", "/assets/…".
func Has(urlPath string) bool {
	_, ok := files()[urlPath]
	return ok
}

// Serve answers a GET or HEAD with a file that there is, and others with 404.
func Serve(w http.ResponseWriter, r *http.Request, urlPath string) {
	f, ok := files()[urlPath]
	if !ok {
		http.NotFound(w, r)
		return
	}
	body, etag := f.plain, f.etag
	h := w.Header()
	h.Add("Vary", "Accept-Encoding")
	if takesGzip(r.Header.Get("Accept-Encoding")) {
		body, etag = f.packed(), etag+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", f.caching)
	h.Set("ETag", `"`+etag+`"`)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// takesGzip reads an Accept-Encoding header; one that refuses gzip by q=0 is rare and
// respected.
func takesGzip(header string) bool {
	for item := range strings.SplitSeq(header, ",") {
		name, q, _ := strings.Cut(strings.ReplaceAll(item, " ", ""), ";")
		if name == "gzip" {
			return strings.Trim(strings.TrimPrefix(q, "q="), "0.") != "" || q == ""
		}
	}
	return false
}
