package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const secret = "correct-horse-battery-staple"

// secrets are what callers of a cluster with TLS and a token need.
type secrets struct {
	tokenFile, certFile string
	roots               *x509.CertPool
}

// newSecureCluster starts n members as they are run between machines, and waits
// until all are ready.
func newSecureCluster(t *testing.T, n int) (*cluster, *secrets) {
	t.Helper()
	dir := t.TempDir()
	cert, key := selfSigned(t, dir)
	s := &secrets{tokenFile: filepath.Join(dir, "token"), certFile: cert, roots: x509.NewCertPool()}
	if err := os.WriteFile(s.tokenFile, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	s.roots.AppendCertsFromPEM(text)
	c := prepare(t, n, "--token-file", s.tokenFile, "--tls-cert", cert, "--tls-key", key, "--tls-ca", cert)
	c.scheme, c.token = "https", secret
	c.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: s.tls(), ForceAttemptHTTP2: true}}
	c.agentArgs = []string{"--token-file", s.tokenFile, "--tls-ca", cert}
	for _, name := range c.names {
		c.members[name].start()
	}
	c.ready()
	return c, s
}

func (s *secrets) tls() *tls.Config {
	return &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}
}
