"""Between media and the event log: never blocks media, keeps order, loses nothing that was kept.

Records wait in a bounded backlog. The journal's thread seals what waits, stores it with the legs' state
(call_store.keep), appends it to the log, and takes it out of the store. A crash at any point leaves either
nothing of a batch, or all of it in the outbox, from where the next process appends it first. Only a crash between
the log's acknowledgement and the outbox's emptying appends a batch twice, byte for byte and under the same ids.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from events.audio import AudioBlock, Gap, GapCause
from events.errors import KeyDestroyed, NeverRetry, RetryLater
from events.identity import CallId
from events.log import Event, EventLog
from events.metrics import AUDIO_BLOCKS, CAPTURE_BACKLOG, count, gauge
from events.sealing import Sealer
from events.topics import Topic
from telephony.call_store import CallState, CallStore, LegState
from telephony.sink import KeyMaker, sealed_batches
from telephony.source import SourceRecord

logger = logging.getLogger(__name__)

_RETRY_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
_SAY_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class JournalSettings:
    backlog_records: int = 60_000
    """Records that may wait for the log: 30 s of 100 two-leg calls. Beyond, audio becomes marked gaps."""
    nearly_full: float = 0.75
    """From this share of the backlog on, new calls are refused."""
    gather_ms: int = 40
    """How long a batch gathers before it is made durable."""
    records_per_batch: int = 2000

    def __post_init__(self) -> None:
        if self.backlog_records < 100 or self.records_per_batch < 1:
            raise ValueError("The backlog holds at least 100 records, and a batch at least 1.")
        if not 0 < self.nearly_full <= 1 or not 0 <= self.gather_ms <= 1000:
            raise ValueError("`nearly_full` lies in (0, 1] and `gather_ms` between 0 and 1000.")


class Batch(msgspec.Struct, frozen=True):
    """Records and the state that they lead to; kept together or not at all."""

    records: tuple[SourceRecord, ...]
    legs: tuple[LegState, ...] = ()
    calls: tuple[CallState, ...] = ()


@dataclass(slots=True)
class _Hole:
    """Audio of a leg that found no room, as one growing gap."""

    block: AudioBlock
    state: LegState | None = None


@dataclass(slots=True)
class _Pending:
    """One batch on its way."""

    outbox: Sequence[tuple[Topic, Sequence[Event]]]
    legs: Sequence[LegState]
    calls: Sequence[CallState]
    blocks: int
    newest: int = 0
    unsent: list[tuple[Topic, Sequence[Event]]] = field(default_factory=list)


class Journal:
    """Takes batches from the media thread and brings them into the log from its own."""

    def __init__(
        self, store: CallStore, log: EventLog, sealer: Sealer, keys: KeyMaker, settings: JournalSettings
    ) -> None:
        self._store = store
        self._log = log
        self._sealer = sealer
        self._keys = keys
        self._settings = settings
        self._condition = threading.Condition()
        self._queue: deque[Batch] = deque()
        self._waiting = 0
        self._in_flight = 0
        self._holes: dict[tuple[CallId, int], _Hole] = {}
        self._said = 0.0

    @property
    def backlog(self) -> int:
        """Records that wait, those of the batch under way included."""
        return self._waiting + self._in_flight

    @property
    def nearly_full(self) -> bool:
        """Whether new calls should be refused."""
        return self.backlog >= self._settings.nearly_full * self._settings.backlog_records

    def put(self, batch: Batch) -> None:
        """Take a batch; never blocks. With no room left, audio turns into gaps that say so."""
        with self._condition:
            if self.backlog >= self._settings.backlog_records or self._holes:
                batch = self._squeeze(batch)
            if batch.records or batch.legs or batch.calls:
                self._queue.append(batch)
                self._waiting += len(batch.records)
            self._condition.notify()

    def resume(self, outbox: Sequence[tuple[Topic, Sequence[Event]]], newest: int) -> None:
        """Have `run` append first what the last process had kept."""
        self._left = _Pending((), (), (), 0, newest, list(outbox))

    _left: _Pending | None = None

    def run(self, stop: threading.Event, give_up_s: float = 5.0) -> None:
        """Work until `stop` is set and nothing waits, or `give_up_s` later."""
        deadline: float | None = None
        if self._left is not None:
            self._send(self._left, stop, None)
        while True:
            with self._condition:
                if not self._queue and not stop.is_set():
                    self._condition.wait(0.1)
                if stop.is_set():
                    deadline = deadline or time.monotonic() + give_up_s
                    if not self._queue:
                        return
            if not stop.is_set():
                stop.wait(self._settings.gather_ms / 1000)
            batches = self._next()
            if batches:
                self._bring(batches, stop, deadline)
            if deadline is not None and time.monotonic() > deadline:
                logger.error("Capture ends with %d records that the event log did not take.", self.backlog)
                return

    def _next(self) -> list[Batch]:
        taken: list[Batch] = []
        with self._condition:
            records = 0
            while self._queue and (not taken or records < self._settings.records_per_batch):
                batch = self._queue.popleft()
                records += len(batch.records)
                taken.append(batch)
            self._waiting -= records
            self._in_flight = records
        return taken

    def _bring(self, batches: Sequence[Batch], stop: threading.Event, deadline: float | None) -> None:
        records = [record for batch in batches for record in batch.records]
        legs = {(leg.call, leg.leg): leg for batch in batches for leg in batch.legs}
        calls = {state.call: state for batch in batches for state in batch.calls}
        blocks = sum(isinstance(record, AudioBlock) for record in records)
        attempt = 0
        while True:
            try:
                outbox = self._seal(records)
                pending = _Pending(outbox, (*legs.values(),), (*calls.values(),), blocks, unsent=list(outbox))
                pending.newest = self._store.keep(pending.outbox, pending.legs, pending.calls)
                break
            except (RetryLater, OSError) as error:
                if not self._wait_after(error, attempt, stop, deadline):
                    return
                attempt += 1
        self._send(pending, stop, deadline)
        self._in_flight = 0
        gauge(CAPTURE_BACKLOG, self.backlog)

    def _seal(self, records: Sequence[SourceRecord]) -> list[tuple[Topic, list[Event]]]:
        try:
            return sealed_batches(self._sealer, self._keys, records)
        except (KeyDestroyed, NeverRetry):
            pass
        # A call of the batch was erased while it was up: the others go on without it.
        outbox: list[tuple[Topic, list[Event]]] = []
        erased: set[CallId] = set()
        for record in records:
            try:
                outbox += sealed_batches(self._sealer, self._keys, [record])
            except (KeyDestroyed, NeverRetry):
                erased.add(record.call)
        for call in erased:
            logger.error("Call %s has no keys any more; its records are dropped.", call)
        return outbox

    def _send(self, pending: _Pending, stop: threading.Event, deadline: float | None) -> None:
        attempt = 0
        while True:
            try:
                while pending.unsent:
                    topic, events = pending.unsent[0]
                    self._log.append(topic, events)
                    pending.unsent.pop(0)
                if pending.newest:
                    self._store.sent(pending.newest)
                count(AUDIO_BLOCKS, pending.blocks)
                return
            except (RetryLater, OSError) as error:
                if not self._wait_after(error, attempt, stop, deadline):
                    return
                attempt += 1

    def _wait_after(self, error: Exception, attempt: int, stop: threading.Event, deadline: float | None) -> bool:
        """Wait before the next attempt; tell False when the process has to end without it."""
        now = time.monotonic()
        gauge(CAPTURE_BACKLOG, self.backlog)
        if now - self._said > _SAY_EVERY_S:
            self._said = now
            logger.error(
                "Captured audio waits (%d records) because the event log is away: %s", self.backlog, error
            )
        if stop.is_set() and deadline is not None and now > deadline:
            return False
        pause = _RETRY_S[min(attempt, len(_RETRY_S) - 1)]
        if stop.is_set():
            time.sleep(min(pause, 0.1))
            return deadline is not None or attempt < 20
        stop.wait(pause)
        return True

    def _squeeze(self, batch: Batch) -> Batch:
        """Turn audio into growing holes while there is no room; give them back once there is."""
        room = self.backlog < self._settings.backlog_records // 2
        records: list[SourceRecord] = []
        legs: list[LegState] = []
        states = {(leg.call, leg.leg): leg for leg in batch.legs}
        if room:
            for key in list(self._holes):
                self._give_back(key, records, legs)
            return Batch((*records, *batch.records), (*legs, *batch.legs), batch.calls)
        for record in batch.records:
            if isinstance(record, AudioBlock):
                self._widen((record.call, record.leg), record, states.pop((record.call, record.leg), None))
                continue
            for key in [key for key in self._holes if key[0] == record.call]:
                self._give_back(key, records, legs)
            records.append(record)
        return Batch(tuple(records), (*legs, *states.values()), batch.calls)

    def _widen(self, key: tuple[CallId, int], block: AudioBlock, state: LegState | None) -> None:
        hole = self._holes.get(key)
        if hole is None:
            gap = Gap(block.start_sample, block.samples, GapCause.DOWN)
            self._holes[key] = _Hole(replace(block, payload=b"", gaps=(gap,)), state)
            return
        samples = hole.block.samples + block.samples
        gap = Gap(hole.block.start_sample, samples, GapCause.DOWN)
        hole.block = replace(hole.block, samples=samples, gaps=(gap,))
        hole.state = state or hole.state

    def _give_back(self, key: tuple[CallId, int], records: list[SourceRecord], legs: list[LegState]) -> None:
        hole = self._holes.pop(key)
        rate = hole.block.sample_rate
        end = hole.block.start_sample + hole.block.samples
        for start in range(hole.block.start_sample, end, rate):
            samples = min(rate, end - start)
            gap = Gap(start, samples, GapCause.DOWN)
            records.append(replace(hole.block, start_sample=start, samples=samples, gaps=(gap,)))
        if hole.state is not None:
            legs.append(hole.state)
