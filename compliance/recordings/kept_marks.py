"""Calls whose recording is kept while their capture key still lives: one small file each, to be known after a crash.

A mark says when the capture key is due to be destroyed, or that it is not by policy. Where the key is destroyed
at once there is no mark: the destroyed key is one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from compliance.recordings.sealed_recording import sync_folder
from events.errors import RetryLater
from events.identity import CallId, parse_call_id

_NEVER: Final = "never"


class KeptMarks:
    """The marks in `folder`, made when absent."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def put(self, call: CallId, due_ms: int | None) -> None:
        """Mark a call durably; `due_ms` (UTC epoch milliseconds) is None where the key stays. The first mark stands.

        Raises
        ------
        RetryLater
            The disk cannot be written now.
        """
        path = self._folder / call
        try:
            if path.exists():
                return
            fresh = self._folder / f".{call}"
            with fresh.open("w", encoding="ascii") as file:
                file.write(_NEVER if due_ms is None else str(due_ms))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
            sync_folder(self._folder)
        except OSError as error:
            raise RetryLater(f"A kept call cannot be marked now ({type(error).__name__}).") from None

    def __contains__(self, call: CallId) -> bool:
        return (self._folder / call).exists()

    def due(self, now_ms: int) -> Iterator[CallId]:
        """Yield the calls whose capture key should be destroyed by now."""
        for path in sorted(self._folder.iterdir()):
            try:
                call = parse_call_id(path.name)
                text = path.read_text("ascii")
            except (OSError, ValueError):
                continue
            if text != _NEVER and text.isdecimal() and int(text) <= now_ms:
                yield call

    def remove(self, call: CallId) -> None:
        (self._folder / call).unlink(missing_ok=True)
