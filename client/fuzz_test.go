package client

import (
	"net/url"
	"testing"
)

// FuzzServerURLs makes addresses that can be dialled of what is given, or refuses it.
func FuzzServerURLs(f *testing.F) {
	for _, s := range []string{"", "http://a:1", "https://a", "a:1", "a", ":1", "[::1]:80", "http://a/path", "http://u:p@a", "ftp://a", "http://a?x", "//a", "http://[::1", "a b", "http://", "HTTP://A:1"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, server string, secure bool) {
		urls, err := serverURLs([]string{server}, secure)
		if err != nil {
			return
		}
		if len(urls) != 1 {
			t.Fatalf("%q becomes %q", server, urls)
		}
		u, err := url.Parse(urls[0])
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.User != nil {
			t.Errorf("%q becomes %q, %v", server, urls[0], err)
		}
	})
}
