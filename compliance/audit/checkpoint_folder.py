"""The write-once folder of checkpoints: what an auditor takes away, or a second system mirrors.

Files are made with O_EXCL, read-only, and never written again. On a file system that can (``chattr +a``, a WORM
share, an object store with a retention lock) not even the operator can take them back.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from compliance.audit.checkpoint import Checkpoint

_NAME: Final = re.compile(r"([0-9]{14})-([0-9]+)\.checkpoint")


class CheckpointFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint durably under its time and size; one that is there already is left as it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{checkpoint.at_ms:014d}-{checkpoint.size}.checkpoint"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        except FileExistsError:
            return path
        with os.fdopen(descriptor, "wb") as file:
            file.write(checkpoint.note.encode())
            file.flush()
            os.fsync(file.fileno())
        directory = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return path

    def paths(self) -> list[Path]:
        """Return the kept files, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def newest_ms(self) -> int | None:
        """Return the time of the newest kept checkpoint, UTC epoch milliseconds."""
        paths = self.paths()
        return int(paths[-1].name.split("-")[0]) if paths else None
