"""Where the control plane is and how it is reached: shared by both clients."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pyqwest import Client as HTTPClient
from pyqwest import HTTPTransport, HTTPVersion, SyncClient, SyncHTTPTransport

DEFAULT_SERVER = "http://127.0.0.1:8080"
# Servers give a sign of life on a stream at least every 10 s.
STREAM_SILENCE_S = 25.0
_CONNECT_S = 3.0
# A worker holds a long poll, a heartbeat and a report at once; callers use threads.
_IDLE_CONNECTIONS = 32

Servers = str | Sequence[str] | None
PEM = bytes | str | os.PathLike[str] | None


@dataclass(frozen=True)
class Config:
    """How to reach the control plane, checked."""

    servers: tuple[str, ...]
    token: str | None = None
    tls_ca: bytes | None = None
    tls_cert: bytes | None = None
    tls_key: bytes | None = None
    http2: bool = False
    timeout_s: float = 30.0

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each call."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def sync_http(self, *, stream: bool = False) -> SyncClient:
        """Makes the HTTP client of blocking calls."""
        return SyncClient(
            SyncHTTPTransport(
                tls_ca_cert=self.tls_ca,
                tls_include_system_certs=self.tls_ca is None,
                tls_cert=self.tls_cert,
                tls_key=self.tls_key,
                http_version=self._http_version(),
                connect_timeout=_CONNECT_S,
                read_timeout=STREAM_SILENCE_S if stream else None,
                pool_max_idle_per_host=_IDLE_CONNECTIONS,
                follow_redirects=False,  # would carry the token to whoever it names
            )
        )

    def async_http(self, *, stream: bool = False) -> HTTPClient:
        """Makes the HTTP client of asyncio calls."""
        return HTTPClient(
            HTTPTransport(
                tls_ca_cert=self.tls_ca,
                tls_include_system_certs=self.tls_ca is None,
                tls_cert=self.tls_cert,
                tls_key=self.tls_key,
                http_version=self._http_version(),
                connect_timeout=_CONNECT_S,
                read_timeout=STREAM_SILENCE_S if stream else None,
                pool_max_idle_per_host=_IDLE_CONNECTIONS,
                follow_redirects=False,
            )
        )

    def _http_version(self) -> HTTPVersion | None:
        # Plaintext is HTTP/1.1 unless HTTP/2 is asked for; TLS agrees on one.
        return HTTPVersion.HTTP2 if self.http2 else None


def make_config(
    servers: Servers, token: str | None, tls_ca: PEM, tls_cert: PEM, tls_key: PEM, *, http2: bool, timeout: float
) -> Config:
    """Checks what the user gave, and completes it from the environment.

    RAFT_NODE_SERVER holds URLs, RAFT_NODE_TOKEN the token or RAFT_NODE_TOKEN_FILE the
    name of a file with it.
    """
    if servers is None:
        servers = os.environ.get("RAFT_NODE_SERVER") or DEFAULT_SERVER
    names = servers.split(",") if isinstance(servers, str) else list(servers)
    urls = tuple(dict.fromkeys(_server_url(name.strip(), secure=tls_ca is not None) for name in names))
    if not urls:
        raise ValueError("servers: none given: give at least one URL, such as http://127.0.0.1:8080")
    if not 0 < timeout <= 3600:
        raise ValueError(f"timeout: {timeout} s is out of range: give more than 0 and at most 3600 s")
    if (tls_cert is None) != (tls_key is None):
        raise ValueError("tls_cert and tls_key: one is missing: give both or neither")
    return Config(urls, _token(token), _pem(tls_ca), _pem(tls_cert), _pem(tls_key), http2, timeout)


def _server_url(name: str, *, secure: bool) -> str:
    full = name if "://" in name else f"{'https' if secure else 'http'}://{name}"
    parts = urlsplit(full)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"servers: {name!r}: the scheme must be http or https")
    if not parts.hostname:
        raise ValueError(f"servers: {name!r} is no URL: give one like http://127.0.0.1:8080")
    if parts.username or parts.query or parts.fragment:
        raise ValueError("servers: a URL has only scheme, host, port and path: give a secret as token=")
    return full.rstrip("/")


def _token(token: str | None) -> str | None:
    if token is None:
        token = os.environ.get("RAFT_NODE_TOKEN")
        file = os.environ.get("RAFT_NODE_TOKEN_FILE")
        if token is None and file:
            token = Path(file).read_text().strip()
    if token and any(not "!" <= c <= "~" for c in token):
        raise ValueError("token: it holds a space, a control character or one that is not ASCII: give it as printed")
    return token or None


def _pem(value: PEM) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str) and value.lstrip().startswith("-----BEGIN"):
        return value.encode()
    return Path(value).read_bytes()
