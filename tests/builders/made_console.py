"""A console on a data folder of its own: real index, keys, event log, audit log, users, archive; made calls."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import uvicorn
from argon2 import PasswordHasher
from starlette.applications import Starlette

from compliance.audit.audit_log import AuditLog
from compliance.audit.audit_stage import AuditStage
from compliance.audit.checkpoint import SigningKey
from compliance.audit.recorder import AuditRecorder
from compliance.recordings.reader import RecordingReader
from compliance.recordings.sealed_recording import CHUNK_SAMPLES, Version, write_recording
from console.playable import PlayableRecordings
from console.users import UserRole, UserStore
from console.web.app import create_app
from console.web.live_feed import LiveFeed
from console.web.services import ConsoleServices, Health, StageHealth, WebSettings
from console.web.sessions import SessionStore
from events.call_document import CallDocument
from events.clock import ManualClock
from events.key_store import KeyStore, MasterKey
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from events.topics import Key
from indexer.sqlite_index import SqliteIndex
from tests.builders.made_calls import made_call, made_sound

PASSWORD = "correct horse battery"
NAMES = {
    UserRole.OFFICER: "olga",
    UserRole.SUPERVISOR: "sonja",
    UserRole.AUDITOR: "aydin",
    UserRole.ADMINISTRATOR: "adam",
}
STAGES = ("capture", "recogniser-1", "redaction", "rules", "alerts", "archive", "indexer", "audit", "console")


class MadeConsole:
    """`services` over `folder`; `clock` stands at the morning after the made calls."""

    def __init__(self, folder: Path, calls: int = 0, settings: WebSettings | None = None) -> None:
        self.folder = folder
        self.clock = ManualClock(1_795_080_000_000)
        self.keys = KeyStore(folder / "keys", MasterKey(bytes(32)))
        self.signing = SigningKey.load_or_create(folder / "audit")
        self.audit_log = AuditLog(folder / "audit", self.signing, self.clock)
        self.users = UserStore(
            folder / "users", self.clock, hasher=PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        )
        for role, name in NAMES.items():
            self.users.add(name, role, PASSWORD)
        self.index = SqliteIndex(folder / "index" / "index.sqlite")
        self.sealer = Sealer(self.keys, self.clock)
        self.log = SqliteLog(folder / "log")
        self.services = ConsoleServices(
            index=self.index,
            log=self.log,
            sealer=self.sealer,
            recordings=PlayableRecordings(RecordingReader(folder / "recordings", self.keys)),
            audit_log=self.audit_log,
            audit_key=self.signing.public,
            audit=AuditRecorder(self.audit_log, self.keys.site_key("audit"), "console", self.clock),
            users=self.users,
            sessions=SessionStore(folder / "users", self.users, self.clock),
            feed=LiveFeed(lambda: SqliteLog(folder / "log"), self.sealer, self.index, self.clock),
            health=lambda: Health(
                tuple(StageHealth(name, True, 0, None if name == "capture" else 0) for name in STAGES),
                (("Version", "0.1.0"), ("SIP address", "127.0.0.1:5060"), ("Free disk", "41.2 GB of 60.0 GB")),
            ),
            settings=settings or WebSettings(site="Harbor Mutual"),
            clock=self.clock,
        )
        self.calls: list[CallDocument] = [
            self.keep(made_call(number, answered=number % 8 > 3)) for number in range(calls)
        ]

    def keep(self, document: CallDocument) -> CallDocument:
        """Index a call, and write its recording where it has one."""
        self.keys.create(document.call)
        if document.recording is not None:
            sound = made_sound(document)
            samples = sound.shape[1]
            month = datetime.fromtimestamp(document.started_at_ms / 1000, UTC).strftime("%Y-%m")
            sha256 = write_recording(
                self.folder / "recordings" / month / Version.BLEEPED.file_name(document.call),
                self.keys.key(document.call, Key.RECORD),
                document.call,
                Version.BLEEPED,
                samples,
                8_000,
                [(leg, np.split(sound[leg], range(CHUNK_SAMPLES, samples, CHUNK_SAMPLES))) for leg in (0, 1)],
            )
            document = replace(document, recording=replace(document.recording, sealed_sha256=sha256))
        self.index.put(document)
        return document

    def app(self) -> Starlette:
        return create_app(self.services)

    def audit_stage(self) -> AuditStage:
        return AuditStage(self.audit_log, self.signing.public, self.log, self.sealer, self.clock)

    def close(self) -> None:
        self.services.feed.stop()
        self.services.sessions.close()
        for part in (self.users, self.audit_log, self.index, self.log, self.keys):
            part.close()


@dataclass
class ServedConsole:
    made: MadeConsole
    url: str


@contextlib.contextmanager
def served(made: MadeConsole) -> Iterator[ServedConsole]:
    """Serve the console on a free loopback port, with its live feed running."""
    listening = socket.create_server(("127.0.0.1", 0))
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    config = uvicorn.Config(made.app(), log_config=None, access_log=False, timeout_graceful_shutdown=2)
    server = Server(config)
    made.services.feed.start()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        assert started.wait(30)
        yield ServedConsole(made, f"http://127.0.0.1:{listening.getsockname()[1]}")
    finally:
        made.services.feed.stop()
        server.should_exit = True
        thread.join(20)
        listening.close()
