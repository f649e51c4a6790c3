"""Builds the parts of an engine from a data folder and settings. The only place that chooses a driver."""

from __future__ import annotations

import os
from functools import cached_property

from compliance.audit.audit_log import AuditLog
from compliance.audit.checkpoint import SigningKey
from compliance.audit.recorder import AuditRecorder
from compliance.recordings.reader import RecordingReader
from console.data_folder import DataFolder
from console.settings import Settings
from console.users import UserStore
from events.clock import Clock, SystemClock
from events.key_store import KeyStore, MasterKey
from events.log import EventLog
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from indexer.index import CallIndex
from indexer.sqlite_index import SqliteIndex

MASTER_KEY_VARIABLE = "CALLWARDEN_MASTER_KEY"


class Wiring:
    """One per process. Each part is opened when it is first asked for."""

    def __init__(self, folder: DataFolder, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.clock: Clock = SystemClock()

    @cached_property
    def log(self) -> EventLog:
        return self.new_log()

    def new_log(self) -> EventLog:
        """Open the log once more: a member of a group of its own, for a thread that reads by itself."""
        return SqliteLog(self.folder.log, self.settings.log)

    @cached_property
    def keys(self) -> KeyStore:
        master = os.environ.get(MASTER_KEY_VARIABLE)
        key = MasterKey.from_text(master) if master else MasterKey.load(self.folder.keys / "master.key")
        return KeyStore(self.folder.keys, key)

    @cached_property
    def sealer(self) -> Sealer:
        return Sealer(self.keys, self.clock)

    @cached_property
    def index(self) -> CallIndex:
        return SqliteIndex(self.folder.index, self.settings.index)

    @cached_property
    def signing_key(self) -> SigningKey:
        return SigningKey.load_or_create(self.folder.audit)

    @cached_property
    def audit_log(self) -> AuditLog:
        return AuditLog(self.folder.audit, self.signing_key, self.clock, self.settings.audit)

    def audit_recorder(self, via: str) -> AuditRecorder:
        return AuditRecorder(self.audit_log, self.keys.site_key("audit"), via, self.clock)

    @cached_property
    def users(self) -> UserStore:
        return UserStore(self.folder.users, self.clock, self.settings.users)

    @cached_property
    def recordings(self) -> RecordingReader:
        return RecordingReader(self.folder.recordings, self.keys)

    def close(self) -> None:
        """Close what was opened."""
        for name in ("log", "keys", "index", "audit_log", "users"):
            part = self.__dict__.pop(name, None)
            if part is not None and hasattr(part, "close"):
                part.close()
