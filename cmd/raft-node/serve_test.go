package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
	"github.com/raft-control-plane/control-plane/internal/testport"
)

const testToken = "0123456789abcdef0123456789abcdef"

// configOf is the configuration that flags give.
func configOf(t *testing.T, args ...string) (*serveConfig, error) {
	t.Helper()
	v := viper.New()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	addServeFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := v.BindPFlags(flags); err != nil {
		t.Fatal(err)
	}
	return loadServeConfig(v)
}

func tokenFile(t *testing.T) string {
	t.Helper()
	return writeFile(t, "token", []byte(testToken+"\n"))
}

func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServeReportsEveryMistake(t *testing.T) {
	_, err := configOf(t, "--listen=0.0.0.0:80000", "--advertise=x", "--name=a b", "--join=http://m1:80", "--bootstrap-expect=10",
		"--token-file=/nothing", "--tls-cert=/nothing", "--cors-origin=console.example.com", "--log-level=loud", "--log-format=xml", "--otlp-endpoint=collector:4317",
		"--event-retention=1s", "--event-retention-entries=-1", "--task-retention=59s", "--task-retention-count=999", "--node-retention=59s", "--min-free-bytes=1000")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"--listen", "--advertise", "--name", "--join", "--bootstrap-expect", "--token-file", "--tls-key", "--cors-origin", "--log-level", "--log-format", "--otlp-endpoint", "--event-retention", "--event-retention-entries", "--task-retention", "--task-retention-count", "--node-retention", "--min-free-bytes"} {
		if !strings.Contains("\n"+err.Error(), "\n"+want) && !strings.Contains(err.Error(), want+":") {
			t.Errorf("%s is not named in\n%v", want, err)
		}
	}
}

func TestServeMistakes(t *testing.T) {
	t.Setenv("PORT", "")
	short := writeFile(t, "short", []byte("secret"))
	for _, c := range []struct{ args, want string }{
		{"--listen=:8080", "give --token-file"},
		{"--listen=10.0.0.1:8080", "give --token-file"},
		{"--listen=8080", "host:port"},
		{"--listen=0.0.0.0:8080 --join=m2:8080 --token-file=" + tokenFile(t), "--advertise"},
		{"--advertise=0.0.0.0:8080", "--advertise"},
		{"--advertise=m1:0", "--advertise"},
		{"--bootstrap-expect=3 --join=m2:8080", "addresses of all 3 members"},
		{"--token-file=" + short, "16 to 4096"},
		{"--tls-ca=" + short, "--tls-cert"},
		{"--tls-cert=" + short + " --tls-key=" + short, "PEM"},
		{"--cors-origin=*", "--token-file"},
		{"--cors-origin=https://a.example.com/", "without a path"},
	} {
		if _, err := configOf(t, strings.Fields(c.args)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestServeDefaults(t *testing.T) {
	t.Setenv("PORT", "")
	t.Setenv("XDG_DATA_HOME", "/data")
	c, err := configOf(t)
	if host, _ := os.Hostname(); err != nil || c.Listen != "127.0.0.1:8080" || c.Name != host || c.DataDir != "/data/raft-node" {
		t.Errorf("%+v, %v", c, err)
	}
	if got := c.advertise(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}); got != "127.0.0.1:8080" {
		t.Errorf("advertised %s", got)
	}
	for _, c := range []struct{ xdg, home, want string }{
		{"", "/home/u", "/home/u/.local/share/raft-node"}, {"relative", "/home/u", "/home/u/.local/share/raft-node"}, {"", "", "raft-node-data"},
	} {
		if got := defaultDataDir(c.xdg, c.home); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestServeHonoursPort(t *testing.T) {
	t.Setenv("PORT", "9090")
	for _, c := range []struct{ args, want string }{
		{"", "127.0.0.1:9090"},
		{"--token-file=" + tokenFile(t), ":9090"},
		{"--listen=127.0.0.1:1", "127.0.0.1:1"},
	} {
		got, err := configOf(t, strings.Fields(c.args)...)
		if err != nil || got.Listen != c.want {
			t.Errorf("%s: listens on %s, want %s; %v", c.args, got.Listen, c.want, err)
		}
	}
}

func TestServeReadsListsFromTheEnvironment(t *testing.T) {
	v := viper.New()
	v.Set("join", "a:1, b:2,c:3")
	if got := list(v, "join"); fmt.Sprint(got) != "[a:1 b:2 c:3]" {
		t.Errorf("%q", got)
	}
}

// running is a member in this process.
type running struct {
	address string
	stop    context.CancelFunc
	ended   chan error
}

func run(t *testing.T, address string, args ...string) *running {
	t.Helper()
	cfg, err := configOf(t, append([]string{"--listen=" + address, "--data-dir=" + t.TempDir(), "--log-level=error"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{address: address, stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- serve(ctx, cfg, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-r.ended; err != nil {
			t.Errorf("%s ended with %v", address, err)
		}
	})
	return r
}

// certificate makes a certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return writeFile(t, "cert.pem", cert), writeFile(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})), pool
}

// TestThreeMembersOverTLS forms a cluster with a token and TLS, and writes at each
// member: two of them forward.
func TestThreeMembersOverTLS(t *testing.T) {
	t.Setenv("PORT", "")
	cert, key, pool := certificate(t)
	addresses := []string{testport.Address(t), testport.Address(t), testport.Address(t)}
	for i, a := range addresses {
		run(t, a, fmt.Sprintf("--name=m%d", i), "--bootstrap-expect=3", "--join="+strings.Join(addresses, ","),
			"--token-file="+tokenFile(t), "--tls-cert="+cert, "--tls-key="+key, "--tls-ca="+cert)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	for i, a := range addresses {
		submit(t, &http.Client{Transport: tr}, "https://"+a, fmt.Sprintf("t%d", i))
	}
}

// submit stores a task; the server may still be on its way up.
func submit(t *testing.T, h *http.Client, url, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := controlplanev1connect.NewTaskServiceClient(h, url)
	for {
		req := connect.NewRequest(&v1.SubmitTaskRequest{Task: &v1.Task{Id: id, Work: &v1.Task_Exec{Exec: &v1.ExecTask{Command: []string{"true"}}}}})
		req.Header().Set("Authorization", "Bearer "+testToken)
		res, err := c.SubmitTask(ctx, req)
		if err == nil {
			if res.Msg.GetTask().GetId() != id {
				t.Errorf("stored %v", res.Msg)
			}
			return
		}
		if connect.CodeOf(err) != connect.CodeUnavailable || ctx.Err() != nil {
			t.Fatalf("submit %s at %s: %v", id, url, err)
		}
	}
}

func TestServeSaysWhatIsInUse(t *testing.T) {
	t.Setenv("PORT", "")
	dir := t.TempDir()
	r := run(t, testport.Address(t), "--data-dir="+dir)
	submit(t, http.DefaultClient, "http://"+r.address, "a")
	for name, c := range map[string]struct{ listen, want string }{
		"port":      {r.address, "--listen " + r.address + ": the port is in use"},
		"directory": {testport.Address(t), "--data-dir " + dir},
	} {
		cfg, err := configOf(t, "--listen="+c.listen, "--data-dir="+dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := serve(context.Background(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServeKeepsItsStateOverARestart(t *testing.T) {
	t.Setenv("PORT", "")
	dir, address := t.TempDir(), testport.Address(t)
	cfg, err := configOf(t, "--listen="+address, "--data-dir="+dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		var log bytes.Buffer
		go func() { ended <- serve(ctx, cfg, cfg.logger(&log)) }()
		submit(t, http.DefaultClient, "http://"+address, id)
		if id == "b" {
			submit(t, http.DefaultClient, "http://"+address, "a") // a repeat: it is there
		}
		http.DefaultClient.CloseIdleConnections() // or the next submit may take one that is about to close
		begun := time.Now()
		stop()
		if err := <-ended; err != nil {
			t.Fatalf("ended with %v", err)
		}
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("stopping took %s", took)
		}
		if !strings.Contains(log.String(), "msg=serving") {
			t.Errorf("log: %s", log.String())
		}
	}
}
