"""Ctrl-C and SIGTERM as one exception, raised only where it can do no harm."""

import contextlib
import signal
import time

# make passes a Ctrl-C on to a child that the terminal has told already: what follows
# within this time is the same wish, not impatience.
SAME_WISH_S = 1.0


class Interrupted(BaseException):
    """Someone asked this program to end."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


class Signals:
    """Turns the first SIGINT, SIGTERM or SIGHUP into Interrupted, and remembers a later one.

    It is raised only inside `interruptible`, and only once, so that no child is started
    or left without being known and stopped.
    """

    def __init__(self):
        self._raises = False
        self._first = None
        self._first_at = 0.0
        self._impatient = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays in force
                signal.signal(number, self._handle)

    @contextlib.contextmanager
    def interruptible(self):
        """Raise Interrupted inside; at once if a signal came before."""
        if self._first is not None:
            raise Interrupted(self._first)
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def impatient(self):
        """Whether a second signal has come: stop waiting."""
        return self._impatient

    def _handle(self, number, _frame):
        if self._first is not None:
            self._impatient = self._impatient or time.monotonic() - self._first_at > SAME_WISH_S
            return
        self._first, self._first_at = number, time.monotonic()
        if self._raises:
            raise Interrupted(number)
