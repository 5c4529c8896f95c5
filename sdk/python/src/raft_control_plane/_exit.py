"""The end of a process that has called by asyncio."""

import atexit
import functools
import time

REST_S = 0.3


@functools.cache
def rest_at_exit() -> None:
    """Has this process wait a moment before the interpreter ends.

    Threads of pyqwest put away calls that were cancelled, such as the last poll of a worker. One
    that wants the interpreter's lock once that ends aborts the process: on a busy machine some
    one in thirty workers over TLS died by a signal after all was done. There is nothing to wait for.
    """
    atexit.register(time.sleep, REST_S)
