"""Waking readers of a file in other processes the moment something was committed to it.

A writer rings by opening and closing a small empty file beside the database; a reader waits with inotify for
the close. This costs no write and no CPU while nothing happens, where polling a database every 5 ms from nine
processes costs several per cent of a core. A bell may be missed (a writer killed between commit and ring, a
file system without inotify): readers look again by themselves after a while and never rely on it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys
import time
from pathlib import Path
from typing import Final

_IN_CLOSE_NOWRITE: Final = 0x10
_IN_CLOSE_WRITE: Final = 0x08
_POLL_S: Final = 0.005


def ring(bell: Path) -> None:
    """Wake everybody who listens to `bell`. Never fails: listeners look by themselves too."""
    with contextlib.suppress(OSError):
        os.close(os.open(bell, os.O_RDONLY | os.O_CLOEXEC))


class BellListener:
    """Waits for any of several bells. Without inotify it sleeps in short steps instead."""

    def __init__(self) -> None:
        self._watched: set[Path] = set()
        self._descriptor = -1
        self._libc: ctypes.CDLL | None = None
        if sys.platform == "linux":
            libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            self._libc = libc if self._descriptor >= 0 else None

    def listen_to(self, bell: Path) -> None:
        """Add a bell; the file is created when it is missing."""
        if bell in self._watched:
            return
        with contextlib.suppress(OSError):
            os.close(os.open(bell, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if self._libc is not None:
            mask = _IN_CLOSE_NOWRITE | _IN_CLOSE_WRITE
            if self._libc.inotify_add_watch(self._descriptor, os.fsencode(bell), mask) < 0:
                self.close()
        self._watched.add(bell)

    def wait(self, seconds: float) -> bool:
        """Return True as soon as a bell rang, False after `seconds`. Rings since the last wait count."""
        if self._libc is None:
            time.sleep(max(0.0, min(seconds, _POLL_S)))
            return True
        poller = select.poll()  # unlike select(), it takes descriptors above 1,023
        poller.register(self._descriptor, select.POLLIN)
        if not poller.poll(max(0.0, seconds) * 1000):
            return False
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 65536)
        return True

    def give_up(self) -> None:
        """Poll from now on: this file system does not carry bells."""
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._libc = None
