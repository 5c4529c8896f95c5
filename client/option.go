package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/trace"
)

// Option changes how a Client works.
type Option func(*options)

type options struct {
	token        string
	tls          *tls.Config
	logger       *slog.Logger
	callTimeout  time.Duration
	patience     time.Duration
	once         bool
	uncompressed bool
	tracing      trace.TracerProvider // nil: no spans
	interceptors []connect.Interceptor
}

// WithToken sends a bearer token with each call, as servers that were started
// with a token file require.
func WithToken(token string) Option {
	return func(o *options) { o.token = token }
}

// WithTLS sets how https servers are verified. Without it the system's
// certificate authorities count.
func WithTLS(config *tls.Config) Option {
	return func(o *options) { o.tls = config }
}

// WithLogger receives a line at level debug for each attempt that is tried
// again. By default nothing is logged.
func WithLogger(logger *slog.Logger) Option {
	return func(o *options) { o.logger = logger }
}

// WithCallTimeout is the deadline of a call whose context has none; 30 s by
// default.
func WithCallTimeout(d time.Duration) Option {
	return func(o *options) { o.callTimeout = d }
}

// WithPatience makes a call give up, before its deadline, once no server has
// given any answer for this long. By default the deadline alone counts, which
// suits programs that outlive a restart of the whole cluster; people at a
// terminal would rather hear soon that nothing listens.
func WithPatience(d time.Duration) Option {
	return func(o *options) { o.patience = d }
}

// WithoutRetries returns the first error of a call instead of trying it again, for
// programs that decide by themselves: one that measures, or that passes
// RESOURCE_EXHAUSTED and its delay on to callers of its own.
func WithoutRetries() Option {
	return func(o *options) { o.once = true }
}

// WithoutCompression sends messages as they are, and asks for such answers: for a network
// whose bytes cost less than the CPU that packs them. By default what has 1 KiB or more
// goes through gzip, but to and from this machine itself (localhost, 127.0.0.0/8, ::1).
func WithoutCompression() Option {
	return func(o *options) { o.uncompressed = true }
}

// serverURLs checks and completes the given URLs and drops repeats.
func serverURLs(servers []string, secure bool) ([]string, error) {
	var urls []string
	var errs []error
	for _, s := range servers {
		u, err := serverURL(s, secure)
		if err != nil {
			errs = append(errs, err)
		} else if !slices.Contains(urls, u) {
			urls = append(urls, u)
		}
	}
	if len(servers) == 0 {
		errs = append(errs, errors.New("no server given: give at least one URL, such as http://127.0.0.1:8080"))
	}
	return urls, errors.Join(errs...)
}

func serverURL(s string, secure bool) (string, error) {
	full := s
	if !strings.Contains(s, "://") {
		full = "http://" + s
		if secure {
			full = "https://" + s
		}
	}
	u, err := url.Parse(full)
	switch {
	case err != nil || u.Hostname() == "":
		return "", fmt.Errorf("server %q is no URL: give one like http://127.0.0.1:8080", s)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("server %q: the scheme must be http or https", s)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("server %q: only scheme, host, port and path are allowed (a token goes by WithToken)", u.Redacted())
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// checkToken refuses what cannot stand in a header, without showing it.
func checkToken(token string) error {
	for _, r := range token {
		if r <= ' ' || r > '~' {
			return errors.New("the token holds a space, a control character or one that is not ASCII: give it as printed, without line ends")
		}
	}
	return nil
}
