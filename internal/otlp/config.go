package otlp

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	tracesPath     = "/v1/traces"
	defaultTimeout = 10 * time.Second
)

// Config is where spans are sent and how.
type Config struct {
	URL     string
	Headers map[string]string
	Timeout time.Duration // of one export, with its repeats
	Gzip    bool
	TLS     *tls.Config
}

// FromEnv reads what the OpenTelemetry specification gives the names of variables for; nil if
// nothing is to be exported, which is so unless an endpoint is given. One that is given
// besides comes before OTEL_EXPORTER_OTLP_ENDPOINT. It reports every mistake at once.
func FromEnv(getenv func(string) string, endpoint string) (*Config, error) {
	// get reads a variable for traces, or the one for all signals.
	get := func(name string) string {
		return cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_"+name), getenv("OTEL_EXPORTER_OTLP_"+name))
	}
	target, from := getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	if base := cmp.Or(endpoint, getenv("OTEL_EXPORTER_OTLP_ENDPOINT")); endpoint != "" || target == "" && base != "" {
		target, from = strings.TrimRight(base, "/")+tracesPath, "OTEL_EXPORTER_OTLP_ENDPOINT"
		if endpoint != "" {
			from = "--otlp-endpoint"
		}
	}
	if target == "" || strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	c := &Config{URL: target, Timeout: defaultTimeout}
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	if u, err := url.Parse(target); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		note(fmt.Errorf("%s: %q is no URL: give that of a collector, such as http://127.0.0.1:4318", from, target))
	}
	if exporter := getenv("OTEL_TRACES_EXPORTER"); exporter != "" && exporter != "otlp" {
		note(fmt.Errorf("OTEL_TRACES_EXPORTER: %q is not known here: give otlp or none", exporter))
	}
	if protocol := get("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		note(fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is not spoken here: give http/protobuf, and the collector's port for that, by default 4318", protocol))
	}
	switch compression := get("COMPRESSION"); compression {
	case "", "none":
	case "gzip":
		c.Gzip = true
	default:
		note(fmt.Errorf("OTEL_EXPORTER_OTLP_COMPRESSION: %q is not known: give gzip or none", compression))
	}
	if text := get("TIMEOUT"); text != "" {
		ms, err := strconv.ParseInt(text, 10, 32)
		if err != nil || ms <= 0 {
			note(fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT: %q is no time: give milliseconds, such as 10000", text))
		}
		c.Timeout = time.Duration(ms) * time.Millisecond
	}
	var err error
	c.Headers, err = headers(get("HEADERS"))
	note(err)
	c.TLS, err = tlsConfig(get("CERTIFICATE"), get("CLIENT_CERTIFICATE"), get("CLIENT_KEY"))
	note(err)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

// shown is the URL without what may be secret.
func (c *Config) shown() string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// headers reads "a=1,b=2", with values escaped as in URLs.
func headers(text string) (map[string]string, error) {
	all := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !ok || key == "" || err != nil { // not shown: it may hold a secret
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS: is not of the form key=value,key=value, with % escapes as in URLs: mend it")
		}
		all[key] = value
	}
	return all, nil
}

func tlsConfig(ca, cert, key string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w: give a file with authorities in PEM", err)
		}
		if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %s holds no certificate: give a file with authorities in PEM", ca)
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, OTEL_EXPORTER_OTLP_CLIENT_KEY: %w: give both, in PEM", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
