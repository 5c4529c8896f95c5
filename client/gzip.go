package client

import (
	"io"
	"net/url"

	"connectrpc.com/connect"
	"github.com/klauspost/compress/gzip"

	"github.com/raft-control-plane/control-plane/internal/loopback"
)

// gzip in the form that Connect wants, which packs quickly rather than tightly: with
// the standard library's a tenth of the time of a batch of tasks went there.

const (
	gzipName = "gzip"
	// compressMinBytes is the size from which a request is worth compressing.
	compressMinBytes = 1 << 10
)

// compression is how messages to and from a server are packed. To this machine itself they
// are not: there a byte costs less to copy than to compress. To any other server they are, on
// private networks too: an address of 10.0.0.0/8 may be in another zone, or in another cloud
// behind a tunnel, where a gigabyte costs a hundred times as much as the seconds of CPU that
// pack it.
func (o *options) compression(server string) []connect.ClientOption {
	if u, err := url.Parse(server); o.uncompressed || err == nil && loopback.Host(u.Host) {
		return []connect.ClientOption{connect.WithAcceptCompression(gzipName, nil, nil)}
	}
	return []connect.ClientOption{
		connect.WithAcceptCompression(gzipName, newGunzip, newGzip),
		connect.WithSendCompression(gzipName),
		connect.WithCompressMinBytes(compressMinBytes),
	}
}

func newGunzip() connect.Decompressor { return new(gzip.Reader) }

func newGzip() connect.Compressor {
	w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is one that there is
	}
	return w
}
