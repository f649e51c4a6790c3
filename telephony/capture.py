"""The capture process: signalling on the main thread, media and journal on one thread each.

Started with sockets that outlive it (sockets.py). What it must not forget lies in its state folder
(call_store.py), so that a successor takes calls in progress up again. How the pieces fit is told in
docs/decisions/0004-capture-survives-its-process.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from events.audio import CallAudioEnded, LegAudioEnded
from events.clock import Clock
from events.identity import CallId
from events.lifecycle import CallEnded, EndReason
from events.log import EventLog
from events.metrics import CALLS_ENDED, CAPTURE_BACKLOG, count, gauge
from events.sealing import Sealer
from events.spill_state import SpillState
from telephony.call_desk import CallDesk, DeskSettings, PortPool
from telephony.call_store import CallState, CallStore, Loaded, StoredCall, boot_id
from telephony.endpoint import EndpointFactory
from telephony.journal import Batch, Journal, JournalSettings
from telephony.leg import LEG, RATE, statistics
from telephony.live_call import LiveCall, samples_to_ms
from telephony.media import Media, MediaSettings
from telephony.pjsua_settings import PjsuaSettings
from telephony.plan import CallPlan
from telephony.receiver import Receiver, ReceiverSettings
from telephony.sink import KeyMaker
from telephony.sip_dialog import Dialog
from telephony.sip_endpoint import SipSettings, built_in
from telephony.siprec import SiprecSettings
from telephony.sockets import CaptureSockets
from telephony.source import SourceRecord

logger = logging.getLogger(__name__)

_LOOK_S: Final = 0.1
_STATUS_EVERY_S: Final = 1.0
_STATUS_FILE: Final = "capture-status.json"


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    sip: SipSettings = field(default_factory=SipSettings)
    pjsua: PjsuaSettings = field(default_factory=PjsuaSettings)
    desk: DeskSettings = field(default_factory=DeskSettings)
    siprec: SiprecSettings = field(default_factory=SiprecSettings)
    receiver: ReceiverSettings = field(default_factory=ReceiverSettings)
    media: MediaSettings = field(default_factory=MediaSettings)
    journal: JournalSettings = field(default_factory=JournalSettings)


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """How capture does, for /healthz and for whoever waits until calls are accepted."""

    pid: int
    ready: bool
    calls: int
    free_legs: int
    backlog: int
    accepting: bool
    at_ms: int
    spill: SpillState | None = None
    """Where records wait while the event log is away; None when this log cannot be away by itself."""
    sip_address: tuple[str, int] | None = None
    """Host and port that SIP is served on; None until it is."""


class Capture:
    """See the module.

    Parameters
    ----------
    log, sealer, keys
        Where records go. Not used before `run`.
    sockets
        Open sockets, owned by the caller; `run` closes its copies of them when it ends.
    state_folder
        Private to capture; made when missing.
    room
        Whether the log has room for new calls; with False they get 503, those in progress go on.
    spill
        How the log's local spill does, for `status`.
    endpoint
        Makes the SIP endpoint; without one it is the built-in, on the SIP sockets of `sockets`.
    """

    def __init__(
        self,
        log: EventLog,
        sealer: Sealer,
        keys: KeyMaker,
        settings: CaptureSettings,
        sockets: CaptureSockets,
        state_folder: Path,
        clock: Clock,
        room: Callable[[], bool] = lambda: True,
        spill: Callable[[], SpillState | None] = lambda: None,
        endpoint: EndpointFactory | None = None,
    ) -> None:
        self._room = room
        self._spill = spill
        self._settings = settings
        self._sockets = sockets
        self._folder = state_folder
        self._clock = clock
        self._store = CallStore(state_folder / "capture.sqlite3")
        self._journal = Journal(self._store, log, sealer, keys, settings.journal)
        ports = sockets.rtp_ports
        self._pool = PortPool(ports)
        self._receiver = Receiver([one.fileno() for one in sockets.rtp], settings.receiver, clock)
        self._media = Media(
            self._receiver, ports, self._journal, settings.media, clock, self._timed_out, self._freed
        )
        desk = CallDesk(self._pool, settings.desk, settings.siprec)
        self._endpoint = (endpoint or built_in(settings.sip))(sockets, desk, self)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving = False
        self._stopping = False
        self._ready = False
        self._failed = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set.

        Raises
        ------
        RuntimeError
            One of the threads has failed; the process should end and be started again.
        """
        loaded = self._store.load(boot_id())
        self._journal.resume(loaded.outbox, loaded.newest_outbox)
        dialogs = self._take_up(loaded)
        stop_media, stop_journal = threading.Event(), threading.Event()
        media = self._thread("media", lambda: self._media.run(stop_media))
        journal = self._thread("journal", lambda: self._journal.run(stop_journal))
        try:
            asyncio.run(self._serve(stop, dialogs))
        finally:
            stop_media.set()
            media.join()
            stop_journal.set()
            journal.join()
            self._receiver.close()
            self._store.close()
            self._ready = False
            self._write_status()
            self._sockets.close()
        if self._failed.is_set():
            raise RuntimeError("Capture ends because one of its threads failed.")

    def status(self) -> CaptureStatus:
        """Return how capture does."""
        return CaptureStatus(
            pid=os.getpid(),
            ready=self._ready,
            calls=self._media.calls_up,
            free_legs=len(self._pool),
            backlog=self._journal.backlog,
            accepting=self.may_begin(),
            at_ms=self._clock.now_ms(),
            spill=self._spill(),
            sip_address=self._endpoint.address if self._serving else None,
        )

    # What signalling asks (endpoint.Calls)

    def may_begin(self) -> bool:
        return not self._stopping and not self._journal.nearly_full and self._room()

    def store(self, plan: CallPlan, dialog: bytes, ended: EndReason | None) -> None:
        self._store.save_call(plan, dialog, ended)

    def discard(self, plan: CallPlan) -> None:
        self._store.remove_call(plan.call)

    def apply(self, plan: CallPlan) -> Future[None]:
        return self._media.apply(plan)

    def end(self, call: CallId, reason: EndReason) -> None:
        self._media.end(call, reason)

    def release(self, plan: CallPlan) -> None:
        for leg in plan.legs:
            self._pool.give_back(leg.port)

    # What media tells, from its thread

    def _timed_out(self, call: CallId) -> None:
        self._on_loop(lambda: self._endpoint.hang_up(call, EndReason.MEDIA_TIMEOUT))

    def _freed(self, plan: CallPlan) -> None:
        self._on_loop(lambda: self.release(plan))

    def _on_loop(self, work: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(work)

    async def _serve(self, stop: threading.Event, dialogs: list[tuple[Dialog, bool]]) -> None:
        self._loop = asyncio.get_running_loop()
        await self._endpoint.start(dialogs)
        self._serving = True
        next_status = 0.0
        while not stop.is_set() and not self._failed.is_set():
            if self._endpoint.failed:
                self._failed.set()
            now = self._clock.monotonic()
            if not self._ready and self._media.running.is_set():
                self._ready, next_status = True, now
            if now >= next_status:
                next_status = now + _STATUS_EVERY_S
                self._write_status()
            await asyncio.sleep(_LOOK_S)
        self._stopping, self._serving = True, False
        await self._endpoint.stop()
        self._loop = None

    def _take_up(self, loaded: Loaded) -> list[tuple[Dialog, bool]]:
        """Hand calls in progress to media and signalling; end those that cannot go on."""
        kept: list[StoredCall] = []
        dialogs: list[tuple[Dialog, bool]] = []
        for stored in loaded.calls:
            if loaded.resumable and all(leg.port in self._pool for leg in stored.plan.legs):
                kept.append(stored)
                for leg in stored.plan.legs:
                    self._pool.claim(leg.port)
                dialogs.append((Dialog.load(stored.dialog), stored.ended is not None))
            else:
                self._journal.put(_lost(stored, self._clock.now_ms()))
                count(CALLS_ENDED, reason=EndReason.LOST.value)
        if loaded.calls:
            logger.warning(
                "Capture was down: %d calls go on, %d are lost.", len(kept), len(loaded.calls) - len(kept)
            )
        self._media.restore(kept)
        return dialogs

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException:
                logger.exception("The %s thread of capture failed.", name)
                self._failed.set()

        thread = threading.Thread(target=guarded, name=f"capture-{name}")
        thread.start()
        return thread

    def _write_status(self) -> None:
        gauge(CAPTURE_BACKLOG, self._journal.backlog)
        fresh = self._folder / f"{_STATUS_FILE}.new"
        try:
            fresh.write_bytes(msgspec.json.encode(asdict(self.status())))
            fresh.replace(self._folder / _STATUS_FILE)
        except OSError as error:
            logger.warning("Capture's status cannot be written: %s.", error.strerror)


def read_status(state_folder: Path) -> CaptureStatus | None:
    """Return the newest status that a capture process has written there, None when there is none."""
    try:
        return msgspec.json.decode((state_folder / _STATUS_FILE).read_bytes(), type=CaptureStatus)
    except (OSError, msgspec.DecodeError):
        return None


def _lost(stored: StoredCall, now_ms: int) -> Batch:
    """Return the last records of a call that ended while no process ran."""
    live = LiveCall(stored.plan.call, 0)
    records: list[SourceRecord] = []
    if stored.kept is None or not stored.kept.started:
        live.agree(stored.plan, 0)
        records += live.begin(now_ms)
    plan = stored.kept.plan if stored.kept is not None else stored.plan
    legs, ends = [], []
    for leg in plan.legs:
        raw = stored.rows.get(leg.leg)
        row = np.frombuffer(raw, LEG)[0] if raw is not None and len(raw) == LEG.itemsize else np.zeros((), LEG)
        legs.append(statistics(leg.leg, row))
        ends.append(LegAudioEnded(plan.call, leg.leg, leg.role, RATE, int(row["cut"])))
    duration_ms = samples_to_ms(max((end.end_sample for end in ends), default=0))
    reason = stored.ended or EndReason.LOST
    return Batch(
        (
            *records,
            *ends,
            CallAudioEnded(plan.call, tuple(leg.leg for leg in plan.legs), duration_ms),
            CallEnded(plan.call, now_ms, duration_ms, reason, tuple(legs)),
        ),
        (),
        (CallState(plan.call, None),),
    )
