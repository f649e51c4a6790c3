"""What the web pages ask of the rest of the engine; filled in by console/wiring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from compliance.audit.audit_log import AuditLog
from compliance.audit.checkpoint import PublicKey
from compliance.audit.recorder import AuditRecorder
from console.users import UserStore
from console.web.live_feed import LiveFeed
from console.web.sessions import SessionStore
from events.clock import Clock, SystemClock
from events.errors import CallwardenError
from events.identity import CallId
from events.log import EventLog
from events.sealing import Sealer
from indexer.index import CallIndex


class RecordingUnavailable(CallwardenError):
    """The recording cannot be heard; the text says why."""


class OpenRecording(Protocol):
    """A call's kept recording as the bytes of a WAV file, unsealed piece by piece."""

    @property
    def size(self) -> int:
        """Of the whole WAV file, header included."""
        ...

    def read(self, offset: int, length: int) -> bytes: ...


class Recordings(Protocol):
    def open(self, call: CallId) -> OpenRecording:
        """Raises RecordingUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class StageHealth:
    name: str
    running: bool
    restarts: int = 0
    lag: int | None = None
    """Events that wait for this stage; None where it reads none."""
    note: str = ""
    age_s: float | None = None
    """Since its last sign of life; None where there is none."""


@dataclass(frozen=True, slots=True)
class PartHealth:
    """Something that stages share: the event log, the index."""

    name: str
    what: str
    """Driver and address."""
    reachable: bool
    note: str = ""
    """What is wrong, in one sentence."""


@dataclass(frozen=True, slots=True)
class Health:
    """State of the engine, without anything personal."""

    stages: tuple[StageHealth, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    """Label and value, for the administrator's page: version, disk space, addresses."""
    parts: tuple[PartHealth, ...] = ()
    warnings: tuple[str, ...] = ()
    """What does not keep anything from working, but must be seen to; whole sentences."""

    @property
    def ok(self) -> bool:
        return all(stage.running for stage in self.stages) and all(part.reachable for part in self.parts)


@dataclass(frozen=True, slots=True)
class WebSettings:
    site: str = ""
    """Name of the installation, shown beside the product's."""
    timezone: str = "UTC"
    """In which times are shown; they are kept in UTC."""
    https: bool = False
    """True when users come through TLS (a proxy in front): cookies are then marked Secure."""
    metrics_token: str = ""
    """With it ``/metrics`` answers to ``Authorization: Bearer ...`` from anywhere, without to loopback only."""
    page_size: int = 20
    """Calls on a search page."""
    audit_page_size: int = 50
    stream_check_s: float = 15.0
    """How often an open live page is asked whether its person is still logged in."""

    mask_profanity: bool = False
    """Show coarse words on a call's page as f***; what is kept, searched and judged stays as it was said."""

    def __post_init__(self) -> None:
        if not 1 <= self.page_size <= 100 or not 1 <= self.audit_page_size <= 500:
            raise ValueError("Web settings need page_size from 1 to 100 and audit_page_size from 1 to 500.")
        if self.stream_check_s <= 0:
            raise ValueError("The web setting stream_check_s must be positive.")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("The web setting timezone is not the name of a time zone.") from None


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    index: CallIndex
    log: EventLog
    """For appending; the live feed reads through its own."""
    sealer: Sealer
    recordings: Recordings
    audit_log: AuditLog
    audit_key: PublicKey
    audit: AuditRecorder
    users: UserStore
    sessions: SessionStore
    feed: LiveFeed
    health: Callable[[], Health]
    settings: WebSettings = field(default_factory=WebSettings)
    clock: Clock = field(default_factory=SystemClock)
