"""Progress bars in a terminal; plain lines elsewhere."""

import shutil
import sys
import time

from sweep import COMPLETED, FINAL, RUNNING

BAR = 30


class Progress:
    """Draws the state of a sweep in place, and lets other lines be printed above it."""

    def __init__(self, node_names, out=None):
        self._names = list(node_names)
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._drawn = []
        self._started = time.monotonic()
        self._plain_done = -1

    def update(self, tasks):
        """Show the tasks as ListTasks gave them."""
        rows = summary(tasks, self._names, time.monotonic() - self._started)
        if self._live:
            self._draw(["%-8s %s %s" % (name, bar(part, len(tasks)), text) for name, part, text in rows])
        elif rows[0][1] != self._plain_done:  # one plain line per change, not per look
            self._plain_done = rows[0][1]
            self._write("; ".join("%s %s" % (name, text) for name, _, text in rows))

    def say(self, text):
        """Print a line that stays, above the bars."""
        drawn = self._drawn
        self._erase()
        self._write(text)
        if drawn:
            self._draw(drawn)

    def _draw(self, lines):
        self._erase()
        width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be erased
        self._write("\n".join(line[:width] for line in lines))
        self._drawn = lines

    def _erase(self):
        if self._drawn:
            self._out.write("\033[%dA\033[J" % len(self._drawn))
        self._drawn = []

    def _write(self, text):
        self._out.write(text + "\n")
        self._out.flush()


def summary(tasks, names, elapsed_s):
    """Rows of (name, tasks done, text): first for the whole sweep, then for each node."""
    done = [task for task in tasks if task["status"] in FINAL]
    running = [task for task in tasks if task["status"] == RUNNING]
    failed = sum(task["status"] != COMPLETED for task in done)
    rows = [("sweep", len(done), "%d/%d done, %d running, %d failed, %.0f s" % (
        len(done), len(tasks), len(running), failed, elapsed_s))]
    for name in names:
        mine = sum(task.get("nodeId") == name for task in done)
        now = sum(task.get("nodeId") == name for task in running)
        rows.append((name, mine, "%d done, %d running" % (mine, now)))
    return rows


def bar(part, whole):
    filled = BAR * part // whole if whole else 0
    return "[" + "#" * filled + "." * (BAR - filled) + "]"
