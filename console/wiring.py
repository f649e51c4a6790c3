"""Builds the parts of an engine from a data folder and settings. The only place that chooses a driver."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from compliance.audit.audit_log import AuditLog
from compliance.audit.checkpoint import SigningKey
from compliance.audit.recorder import AuditRecorder
from compliance.recordings.reader import RecordingReader
from console.data_folder import DataFolder
from console.settings import Settings
from console.users import UserStore
from events import metrics
from events.clock import Clock, SystemClock
from events.key_store import KeyStore, MasterKey
from events.log import EventLog
from events.sealing import Sealer
from events.topics import TOPICS
from indexer.index import CallIndex

if TYPE_CHECKING:
    from events.spilling_log import SpillingLog
    from indexer.elastic_index import ElasticIndex
    from telephony.endpoint import EndpointFactory

MASTER_KEY_VARIABLE = "CALLWARDEN_MASTER_KEY"
CLOCK = "clock of"
"""Begins the names of facts that warn of clocks, see `console.signs_of_life`."""
_CLOCKS_DIFFER_S = 60.0


class Wiring:
    """One per process. Each part is opened when it is first asked for, and its driver imported only then.

    Opening a part asks nothing of a server: one that is away, or refuses us, is met where the part is used.
    """

    def __init__(self, folder: DataFolder, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.clock: Clock = SystemClock()

    @cached_property
    def log(self) -> EventLog:
        return self.new_log()

    def new_log(self) -> EventLog:
        """Open the log once more: a member of a group of its own, for a thread that reads by itself."""
        if self.settings.engine.event_log == "kafka":
            from events.kafka_log import KafkaLog

            return KafkaLog(self.settings.kafka, self.folder.state)
        from events.sqlite_log import SqliteLog

        return SqliteLog(self.folder.log, self.settings.log)

    @cached_property
    def capture_log(self) -> EventLog:
        """What capture writes to: the log itself, or with a spill on the local disk where it is another machine's."""
        return self.log if self.spilling_log is None else self.spilling_log

    @cached_property
    def spilling_log(self) -> SpillingLog | None:
        """None where the log is on the local disk anyway."""
        if self.settings.engine.event_log != "kafka":
            return None
        from events.kafka_log import KafkaLog
        from events.spilling_log import SpillingLog
        from events.sqlite_log import SqliteLog

        kafka, spill = self.settings.kafka, self.settings.spill
        return SpillingLog(
            KafkaLog(replace(kafka, append_within_s=min(kafka.append_within_s, spill.after_s)), self.folder.state),
            self.folder.state / "spill",
            lambda folder: SqliteLog(folder, self.settings.log),
            spill,
            clock=self.clock,
        )

    def prepare_log(self) -> None:
        """Check that the log can be used, and make the topics that are missing.

        Raises
        ------
        LogUnavailable
            In one sentence that names the setting to change: it is away, or it cannot be used as it is.
        """
        if self.settings.engine.event_log == "kafka":
            from events.kafka_topics import prepare_topics

            prepare_topics(self.settings.kafka, TOPICS, self.folder.state)

    def clock_warnings(self) -> dict[str, str]:
        """Say by part in one sentence how this machine's clock differs from a server's; empty where it does not.

        As `prepare_log` and `prepare_index` found it.
        """
        ahead_s = {}
        if self.settings.engine.event_log == "kafka":
            ahead_s["the Kafka brokers"] = metrics.counted(metrics.KAFKA_CLOCK_OFFSET)
        if self.settings.engine.index == "elasticsearch":
            ahead_s["Elasticsearch"] = -metrics.counted(metrics.INDEX_CLOCK_AHEAD)
        return {
            f"{CLOCK} {whose}": ""
            if abs(seconds) <= _CLOCKS_DIFFER_S
            else f"The clock of {socket.gethostname()} is {abs(seconds):.0f} s "
            f"{'ahead of' if seconds > 0 else 'behind'} that of {whose}; set both by NTP."
            for whose, seconds in ahead_s.items()
        }

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
        if self._elastic_index is not None:
            return self._elastic_index
        from indexer.sqlite_index import SqliteIndex

        return SqliteIndex(self.folder.index, self.settings.index)

    @cached_property
    def _elastic_index(self) -> ElasticIndex | None:
        if self.settings.engine.index != "elasticsearch":
            return None
        from indexer.elastic_index import ElasticIndex

        return ElasticIndex(self.settings.elasticsearch, self.folder.state)

    def prepare_index(self) -> None:
        """Check that the index can be used.

        Raises
        ------
        CallwardenError
            In one sentence that names the setting to change: it is away, or it cannot be used as it is.
        """
        if self._elastic_index is not None:
            self._elastic_index.check()

    def check_here(self) -> None:
        """Check what can be wrong on this machine alone, before anything starts.

        Raises
        ------
        CallwardenError
            A module is not installed, or a setting or a file that it names cannot be followed.
        """
        self.endpoint()
        if self._elastic_index is not None:
            self._elastic_index.close()
            del self._elastic_index

    def endpoint(self) -> EndpointFactory | None:
        """What makes capture's SIP endpoint; None for the built-in.

        Raises
        ------
        CallwardenError
            The module that it needs is not installed, or a setting cannot be followed.
        """
        if self.settings.engine.endpoint != "pjsua2":
            return None
        from telephony.pjsua_endpoint import factory

        return factory(self.settings.capture.pjsua, self.settings.capture.sip, self.settings.sockets)

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
        for name in ("spilling_log", "log", "keys", "index", "audit_log", "users"):
            part = self.__dict__.pop(name, None)
            if part is not None and hasattr(part, "close"):
                part.close()
