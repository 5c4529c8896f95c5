"""Copies the generated stubs of gen/python into the package: `make proto` runs it.

The package holds a copy so that it installs from its own folder, or from an sdist,
without a generator. One import is rewritten: the stubs need a newer connectrpc than
Python 3.10 can have, and _compat.py makes up for the difference.
"""

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
SOURCE = HERE.parent.parent / "gen" / "python" / "controlplane_gen"
TARGET = HERE / "src" / "raft_control_plane" / "_gen"
GENERATED = "from connectrpc.method import "
REWRITTEN = "from ...._compat import "


def vendored() -> dict[Path, str]:
    """Returns what the copy must hold: each file by its path below the target."""
    return {
        path.relative_to(SOURCE): path.read_text().replace(GENERATED, REWRITTEN)
        for path in sorted(SOURCE.rglob("*.py"))
    }


def main() -> None:
    """Writes the copy anew."""
    files = vendored()
    if not files:
        sys.exit(f"no stubs in {SOURCE}: run 'make proto'")
    shutil.rmtree(TARGET, ignore_errors=True)
    for path, text in files.items():
        (TARGET / path).parent.mkdir(parents=True, exist_ok=True)
        (TARGET / path).write_text(text)


if __name__ == "__main__":
    main()
