"""Ends servers whose run has ended: started beside them, it waits for the end of its standard input.

``python watchdog.py FOLDER...`` kills every process whose id stands in a ``*.pid`` file of one of the folders and
whose command line names that folder, so that nothing else can be hit. A run that is killed closes the pipe too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path


def owned_pids(folder: Path) -> list[int]:
    """Return the processes that a start script noted in `folder` and that still are what it started."""
    found = []
    for file in folder.rglob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text())
            if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def main() -> None:
    sys.stdin.buffer.read()
    for name in sys.argv[1:]:
        for pid in owned_pids(Path(name)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
