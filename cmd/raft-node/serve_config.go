package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/db/raftdb"
	"github.com/raft-control-plane/control-plane/internal/otlp"
)

// serveConfig is all that a member can be told.
type serveConfig struct {
	Listen          string
	Advertise       string
	DataDir         string
	Name            string
	Join            []string
	BootstrapExpect int
	TokenFile       string
	TLSCert         string
	TLSKey          string
	TLSCA           string
	CORSOrigins     []string
	KeepEvents      time.Duration
	KeepEntries     int64
	KeepTasks       time.Duration
	KeepTasksCount  int64
	KeepNodes       time.Duration
	MinFreeBytes    int64
	LogLevel        string
	LogFormat       string
	OTLPEndpoint    string

	token     string
	serverTLS *tls.Config
	peerTLS   *tls.Config
	level     slog.Level
	tracing   *otlp.Config // nil: off
}

const (
	defaultListen = "127.0.0.1:8080"
	// minTokenBytes keeps out tokens that can be guessed: who has it can run
	// commands on every node.
	minTokenBytes = 16
	maxTokenBytes = 4096
	maxBootstrap  = 9

	minKeepEvents  = time.Minute
	minKeepEntries = 1000
	minKeepTasks   = time.Minute
	minKeepCount   = 1000
	minKeepNodes   = time.Minute

	// defaultMinFree is room for what goes on below it: a file of the log (32 MiB),
	// SQLite's WAL (64 MiB) and its way into the database (as much again).
	defaultMinFree = 256 << 20
	minMinFree     = 128 << 20
)

func addServeFlags(f *pflag.FlagSet) {
	f.String("listen", defaultListen, "host:port to serve on; $PORT is honoured if this is not given")
	f.String("advertise", "", "host:port at which other members reach this one (default: the listen address)")
	f.String("data-dir", "", "directory for everything that the member keeps (default: $XDG_DATA_HOME/raft-node, else ~/.local/share/raft-node)")
	f.String("name", "", "name of the member, unique in its cluster (default: the host's name)")
	f.StringSlice("join", nil, "host:port of members, comma-separated; this one may be among them")
	f.Int("bootstrap-expect", 0, "number of members that form a new cluster together")
	f.String("token-file", "", "file with the secret that callers and members share; needed unless listening on loopback")
	f.String("tls-cert", "", "file with the certificate chain to serve, PEM")
	f.String("tls-key", "", "file with its private key, PEM")
	f.String("tls-ca", "", "file with the authorities that sign the members' certificates, PEM (default: those of the system)")
	f.StringSlice("cors-origin", nil, "origins of web pages that may call, such as https://console.example.com; comma-separated")
	f.Duration("event-retention", db.DefaultRetention.Age, "how long changes are kept for watchers; 0 for no bound")
	f.Int64("event-retention-entries", int64(db.DefaultRetention.Entries), "changes in this many of the newest entries of the log are kept; 0 for no bound")
	f.Duration("task-retention", db.DefaultTaskRetention.Age, "how long tasks are kept once they have ended, and with them the effect of their request_id; 0 for no bound")
	f.Int64("task-retention-count", db.DefaultTaskRetention.Tasks, "of the tasks that have ended this many are kept, those that ended last; 0 for no bound")
	f.Duration("node-retention", time.Duration(db.DefaultNodeRetention), "how long nodes are kept that are no longer heard, hold nothing and are not cordoned; 0 for ever")
	f.Int64("min-free-bytes", defaultMinFree, "new tasks are refused while less is free where --data-dir is; 0 for no bound")
	f.String("log-level", "info", "debug, info, warn or error")
	f.String("log-format", "text", "text or json")
	f.String("otlp-endpoint", "", "URL of an OpenTelemetry collector that takes traces by OTLP over HTTP, such as http://127.0.0.1:4318; the variables OTEL_* are read too (default: no traces)")
}

// loadServeConfig reads the configuration and reports every mistake in it at once.
func loadServeConfig(v *viper.Viper) (*serveConfig, error) {
	c := &serveConfig{
		Listen: v.GetString("listen"), Advertise: v.GetString("advertise"),
		Join: list(v, "join"), BootstrapExpect: v.GetInt("bootstrap-expect"),
		TokenFile: v.GetString("token-file"), TLSCert: v.GetString("tls-cert"), TLSKey: v.GetString("tls-key"), TLSCA: v.GetString("tls-ca"),
		CORSOrigins: list(v, "cors-origin"),
		KeepEvents:  v.GetDuration("event-retention"), KeepEntries: v.GetInt64("event-retention-entries"),
		KeepTasks: v.GetDuration("task-retention"), KeepTasksCount: v.GetInt64("task-retention-count"),
		KeepNodes:    v.GetDuration("node-retention"),
		MinFreeBytes: v.GetInt64("min-free-bytes"),
		LogLevel:     v.GetString("log-level"), LogFormat: v.GetString("log-format"), OTLPEndpoint: v.GetString("otlp-endpoint"),
	}
	if port := os.Getenv("PORT"); port != "" && !v.IsSet("listen") {
		c.Listen = listenOnPort(port, c.TokenFile != "")
	}
	c.DataDir, c.Name = memberPlace(v)
	return c, c.check()
}

// memberPlace is the directory and the name of this machine's member: as given, or
// the defaults.
func memberPlace(v *viper.Viper) (dir, name string) {
	dir, name = v.GetString("data-dir"), v.GetString("name")
	if dir == "" {
		home, _ := os.UserHomeDir() // without one the working directory is taken
		dir = defaultDataDir(os.Getenv("XDG_DATA_HOME"), home)
	}
	if name == "" {
		name, _ = os.Hostname() // an empty name is refused
	}
	return dir, name
}

// list reads a list that may come comma-separated from the environment.
func list(v *viper.Viper, key string) (out []string) {
	for _, item := range v.GetStringSlice(key) {
		for s := range strings.SplitSeq(item, ",") {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
		}
	}
	return out
}

// listenOnPort is the address for $PORT, by which platforms say where they send
// traffic: to all addresses if a token protects them, else to this machine only.
func listenOnPort(port string, token bool) string {
	if token {
		return ":" + port
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// defaultDataDir is where the XDG rules put data of a user's programs.
func defaultDataDir(xdg, home string) string {
	switch {
	case filepath.IsAbs(xdg):
		return filepath.Join(xdg, "raft-node")
	case home != "":
		return filepath.Join(home, ".local", "share", "raft-node")
	}
	return "raft-node-data"
}

func (c *serveConfig) check() error {
	return errors.Join(c.loadToken(), c.checkAddresses(), c.checkCluster(), c.loadTLS(), c.checkOrigins(), c.checkRetention(), c.checkDisk(), c.checkLog(), c.loadTracing())
}

func (c *serveConfig) loadToken() error {
	if c.TokenFile == "" {
		return nil
	}
	text, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return fmt.Errorf("--token-file: %w: give a file with one line of at least %d bytes, made for example by: openssl rand -hex 32", err, minTokenBytes)
	}
	c.token = strings.TrimSpace(string(text))
	if n := len(c.token); n < minTokenBytes || n > maxTokenBytes || strings.ContainsFunc(c.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("--token-file %s: must hold one line of %d to %d printable ASCII characters without spaces, has %d bytes: make one by: openssl rand -hex 32", c.TokenFile, minTokenBytes, maxTokenBytes, n)
	}
	return nil
}

func (c *serveConfig) checkAddresses() error {
	var errs []error
	host, _, err := splitAddress(c.Listen)
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("--listen %q: %w: give host:port, such as %s", c.Listen, err, defaultListen))
	case !loopbackName(host) && c.TokenFile == "":
		errs = append(errs, fmt.Errorf("--listen %s: can be reached from other machines, and who reaches it can run commands on every node: "+
			"give --token-file with a shared secret (openssl rand -hex 32 > token), and best --tls-cert and --tls-key too; or listen on 127.0.0.1", c.Listen))
	}
	if c.Advertise != "" {
		host, port, err := splitAddress(c.Advertise)
		if err == nil && (unspecified(host) || port == 0) {
			err = errors.New("others cannot connect to it")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--advertise %q: %w: give host:port at which other members reach this one", c.Advertise, err))
		}
	} else if err == nil && unspecified(host) && c.clustered() {
		errs = append(errs, fmt.Errorf("--listen %s: is not an address that other members can connect to: give --advertise host:port", c.Listen))
	}
	return errors.Join(errs...)
}

func (c *serveConfig) clustered() bool { return len(c.Join) > 0 || c.BootstrapExpect > 1 }

func (c *serveConfig) checkCluster() error {
	var errs []error
	if !raftdb.ValidName(c.Name) {
		errs = append(errs, fmt.Errorf("--name %q: give 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit", c.Name))
	}
	for _, a := range c.Join {
		host, port, err := splitAddress(a)
		if err == nil && (host == "" || port == 0) {
			err = errors.New("it lacks the host or the port")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--join %q: %w: give host:port of a member, without a scheme", a, err))
		}
	}
	switch n := c.BootstrapExpect; {
	case n < 0 || n > maxBootstrap:
		errs = append(errs, fmt.Errorf("--bootstrap-expect %d: give 1 to %d, best 3 or 5", n, maxBootstrap))
	case n > 1 && len(c.Join) < n-1:
		errs = append(errs, fmt.Errorf("--bootstrap-expect %d: needs the addresses of all %d members in --join, which has %d", n, n, len(c.Join)))
	}
	return errors.Join(errs...)
}

// loadTLS loads the certificate to serve and what to trust of other members.
func (c *serveConfig) loadTLS() error {
	if c.TLSCert == "" && c.TLSKey == "" {
		if c.TLSCA != "" {
			return errors.New("--tls-ca: is for members that serve TLS: give --tls-cert and --tls-key too")
		}
		return nil
	}
	if c.TLSCert == "" || c.TLSKey == "" {
		return errors.New("--tls-cert, --tls-key: one is given without the other: give both, or none for plaintext")
	}
	cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return fmt.Errorf("--tls-cert %s, --tls-key %s: %w: give a certificate chain and its key in PEM", c.TLSCert, c.TLSKey, err)
	}
	c.serverTLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	c.peerTLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLSCA == "" {
		return nil
	}
	text, err := os.ReadFile(c.TLSCA)
	if err != nil {
		return fmt.Errorf("--tls-ca: %w", err)
	}
	c.peerTLS.RootCAs = x509.NewCertPool()
	if !c.peerTLS.RootCAs.AppendCertsFromPEM(text) {
		return fmt.Errorf("--tls-ca %s: holds no certificate: give one or more in PEM", c.TLSCA)
	}
	return nil
}

func (c *serveConfig) checkOrigins() error {
	var errs []error
	for _, o := range c.CORSOrigins {
		u, err := url.Parse(o)
		switch {
		case o == "*" && c.TokenFile == "":
			errs = append(errs, errors.New("--cors-origin *: would let every web page run commands: give --token-file too, or name the origins"))
		case o != "*" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != o):
			errs = append(errs, fmt.Errorf("--cors-origin %q: give scheme://host or scheme://host:port, without a path", o))
		}
	}
	return errors.Join(errs...)
}

// checkRetention refuses bounds so tight that a watcher could not go on after the
// loss of its member, or a submitter not read the result.
func (c *serveConfig) checkRetention() error {
	var errs []error
	if c.KeepEvents != 0 && c.KeepEvents < minKeepEvents {
		errs = append(errs, fmt.Errorf("--event-retention %s: give at least %s, such as 168h, or 0 for no bound", c.KeepEvents, minKeepEvents))
	}
	if c.KeepEntries != 0 && c.KeepEntries < minKeepEntries {
		errs = append(errs, fmt.Errorf("--event-retention-entries %d: give at least %d, such as %d, or 0 for no bound", c.KeepEntries, minKeepEntries, db.DefaultRetention.Entries))
	}
	if c.KeepTasks != 0 && c.KeepTasks < minKeepTasks {
		errs = append(errs, fmt.Errorf("--task-retention %s: give at least %s, such as 168h, or 0 for no bound", c.KeepTasks, minKeepTasks))
	}
	if c.KeepTasksCount != 0 && c.KeepTasksCount < minKeepCount {
		errs = append(errs, fmt.Errorf("--task-retention-count %d: give at least %d, such as %d, or 0 for no bound", c.KeepTasksCount, minKeepCount, db.DefaultTaskRetention.Tasks))
	}
	if c.KeepNodes != 0 && c.KeepNodes < minKeepNodes {
		errs = append(errs, fmt.Errorf("--node-retention %s: give at least %s, such as 24h, or 0 to keep nodes for ever", c.KeepNodes, minKeepNodes))
	}
	return errors.Join(errs...)
}

func (c *serveConfig) retention() db.Retention {
	return db.Retention{Age: c.KeepEvents, Entries: uint64(c.KeepEntries)}
}

func (c *serveConfig) checkDisk() error {
	if c.MinFreeBytes != 0 && c.MinFreeBytes < minMinFree {
		return fmt.Errorf("--min-free-bytes %d: give at least %d, such as %d, or 0 for no bound", c.MinFreeBytes, minMinFree, defaultMinFree)
	}
	return nil
}

func (c *serveConfig) taskRetention() db.TaskRetention {
	return db.TaskRetention{Age: c.KeepTasks, Tasks: c.KeepTasksCount}
}

func (c *serveConfig) checkLog() error {
	var errs []error
	if err := c.level.UnmarshalText([]byte(c.LogLevel)); err != nil || !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		errs = append(errs, fmt.Errorf("--log-level %q: give debug, info, warn or error", c.LogLevel))
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("--log-format %q: give text or json", c.LogFormat))
	}
	return errors.Join(errs...)
}

func (c *serveConfig) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// advertise is the address that others are told. On all addresses a cluster of
// one goes by the host's name.
func (c *serveConfig) advertise(actual net.Addr) string {
	if c.Advertise != "" {
		return c.Advertise
	}
	host, _, err := splitAddress(c.Listen)
	tcp, ok := actual.(*net.TCPAddr)
	if err != nil || !ok {
		return actual.String()
	}
	if unspecified(host) {
		if host, err = os.Hostname(); err != nil {
			host = "127.0.0.1"
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, errors.New("it is no host:port")
	}
	if port, err = strconv.Atoi(text); err != nil || port < 0 || port > 65535 {
		return "", 0, errors.New("its port is not 0 to 65535")
	}
	return host, port, nil
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

func loopbackName(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
