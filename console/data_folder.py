"""Where everything of one engine lies on disk, and who may run on it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from events.errors import CallwardenError


class DataFolderInUse(CallwardenError):
    """Another engine runs on this data folder."""


class DataFolderRefused(CallwardenError):
    """The data folder cannot be used."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The layout of a data folder. Creating one makes the folder, readable by its owner only."""

    root: Path

    @classmethod
    def at(cls, root: Path) -> DataFolder:
        """Make and check the folder.

        Raises
        ------
        DataFolderRefused
            It cannot be made or written.
        """
        root = root.expanduser().absolute()
        folder = cls(root)
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in (folder.log, folder.keys, folder.index, folder.recordings, folder.audit, folder.users):
                part.mkdir(mode=0o700, exist_ok=True)
            for part in (folder.state, folder.run, folder.logs, folder.metrics, folder.processes):
                part.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise DataFolderRefused(f"The data folder {root} cannot be used: {reason}.") from None
        return folder

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def index(self) -> Path:
        return self.root / "index"

    @property
    def recordings(self) -> Path:
        return self.root / "recordings"

    @property
    def audit(self) -> Path:
        return self.root / "audit"

    @property
    def users(self) -> Path:
        return self.root / "users"

    @property
    def state(self) -> Path:
        """What stages must find again after a crash."""
        return self.root / "state"

    @property
    def models(self) -> Path:
        """The site's own model packs, see `recognizer.model_store`."""
        return self.root / "models"

    @property
    def run(self) -> Path:
        """What only lives while an engine runs."""
        return self.root / "run"

    @property
    def metrics(self) -> Path:
        return self.run / "metrics"

    @property
    def processes(self) -> Path:
        """One small file a process, see `console.signs_of_life`."""
        return self.run / "processes"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def health_file(self) -> Path:
        return self.run / "health.json"


class EngineLock:
    """Held by the one engine of a data folder; the kernel releases it when that process ends, however it ends.

    A stage that runs without a supervisor, as in a container, holds a share of it: an engine does not start beside.
    """

    def __init__(self, folder: DataFolder) -> None:
        self._path = folder.run / "engine.lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        DataFolderInUse
            Another process holds it.
        """
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise DataFolderInUse(
                f"Another callwarden engine already runs on the data folder {self._path.parent.parent}; "
                "stop it first or choose another folder with --data."
            ) from None
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file

    def share(self) -> None:
        """Hold a share, beside other stages that run alone; beside an engine, whose lock it is, do nothing."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def is_held(self) -> bool:
        """Whether any engine, or a stage alone, in this process or another, runs on the folder now."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False
