"""What the generated stubs need and connectrpc 0.12, the last for Python 3.10, lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectrpc.method import IdempotencyLevel

__all__ = ["IdempotencyLevel", "MethodInfo", "StreamType"]

if TYPE_CHECKING:
    from connectrpc.method import MethodInfo, StreamType
else:
    try:
        from connectrpc.method import MethodInfo, StreamType
    except ImportError:
        import enum

        from connectrpc.method import MethodInfo as _MethodInfo

        class StreamType(enum.Enum):
            """Named by the stubs; connectrpc 0.12 tells it by the call instead."""

            UNARY = 1
            CLIENT_STREAM = 2
            SERVER_STREAM = 3
            BIDI_STREAM = 4

        def MethodInfo(*, stream_type, **rest):  # noqa: ANN001, ANN003, ANN202, N802
            """Makes a MethodInfo without the field that connectrpc 0.12 does not know."""
            return _MethodInfo(**rest)
