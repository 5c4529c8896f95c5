package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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
	cert, key := newCertificate(t, dir)
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

// newCertificate makes an authority and a certificate of it for 127.0.0.1. The file of
// the certificate holds both, and so serves callers too, as what they trust.
func newCertificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	member := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test member"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	authorityKey, memberKey := newKey(t), newKey(t)
	chain := slices.Concat(sign(t, member, authority, memberKey, authorityKey), sign(t, authority, authority, authorityKey, authorityKey))
	der, err := x509.MarshalPKCS8PrivateKey(memberKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, text := range map[string][]byte{certFile: chain, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, cert, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
