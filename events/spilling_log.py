"""An event log that may be away, with a bounded local spill in front: for capture, which cannot wait.

While the main log takes events, they go straight into it. When it refuses, they go durably onto the local disk, and
everything behind them too, so that order is kept; a thread brings them into the main log in that order as soon as it
is back, and only when nothing is left on the disk do events go straight again.

Nothing is lost: an append returns when the main log or the disk has it. Nothing is doubled, but for one case: a
process that is killed between the main log's acknowledgement of a drained batch and the note of it on the disk sends
that batch (`SpillSettings.drain_records`; on a full disk, which takes no notes, that segment) once more under the same
ids, which readers ignore (law 5 of `events.log`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from events import metrics
from events.clock import Clock, SystemClock
from events.errors import CallwardenError, LogUnavailable
from events.log import Delivery, Event, EventLog, Group, Position, TopicPartition
from events.spill_state import SpillMode, SpillState
from events.spill_store import OpenLog, SpillStore
from events.topics import TOPICS, Topic

logger = logging.getLogger(__name__)

_SAY_EVERY_S: Final = 30.0
_MODE_NUMBER: Final = {SpillMode.DIRECT: 0, SpillMode.SPILLING: 1, SpillMode.DRAINING: 2}


@dataclass(frozen=True, slots=True)
class SpillSettings:
    after_s: float = 2.0
    """Events that the event log has not acknowledged for so long go onto the disk."""
    most_mb: int = 4096
    """Disk space for events while the event log is away. 100 two-leg calls take about 3 MB a second."""
    nearly_full: float = 0.8
    """From this share of the space on (of what the disk has, when that is less), new calls are refused; those in
    progress go on."""
    segment_mb: int = 64
    """Space is given back in pieces of this size."""
    drain_records: int = 1000
    """Events brought into the event log at once; so many may come twice after a kill -9 at the wrong moment."""
    first_retry_s: float = 0.1
    longest_retry_s: float = 2.0
    """Waits between attempts to reach the event log double from the first to the longest."""

    def __post_init__(self) -> None:
        if not 1 <= self.segment_mb <= self.most_mb // 2:
            raise ValueError("Of the spill's sizes, 1 <= segment_mb <= most_mb / 2 must hold.")
        if not 0 < self.nearly_full <= 1 or self.drain_records < 1:
            raise ValueError("The spill's nearly_full lies in (0, 1], and drain_records is at least 1.")
        if not 0 < self.after_s <= 10:
            raise ValueError("The spill's after_s lies above 0 and is 10 at most: capture cannot wait longer.")
        if not 0 < self.first_retry_s <= self.longest_retry_s:
            raise ValueError("Of the spill's waits, 0 < first_retry_s <= longest_retry_s must hold.")


class SpillingLog:
    """EventLog; see the module.

    Parameters
    ----------
    main
        Where events belong. Its `append` gives up with LogUnavailable after a time of its own. Owned: `close`
        closes it.
    folder
        Of the spill; one process uses it.
    open_spill
        Opens the embedded event log in a folder, see `events.spill_store`.
    topics
        Those that are appended to.

    Raises
    ------
    LogUnavailable
        The spill's folder cannot be used.
    """

    def __init__(
        self,
        main: EventLog,
        folder: Path,
        open_spill: OpenLog,
        settings: SpillSettings | None = None,
        topics: Sequence[Topic] = TOPICS,
        clock: Clock | None = None,
    ) -> None:
        self._main = main
        self._settings = settings or SpillSettings()
        self._clock = clock or SystemClock()
        self._most_bytes = self._settings.most_mb << 20
        self._store = SpillStore(folder, open_spill, topics, self._settings.segment_mb << 20)
        self._lock = threading.Lock()
        self._mode = SpillMode.DIRECT
        self._since_ms = self._clock.now_ms()
        self._oldest_ms: int | None = None
        self._why = ""
        self._stop = threading.Event()
        self._drainer: threading.Thread | None = None
        self._said = float("-inf")
        self._state = self._tell()
        if not self._store.is_empty:
            self._begin("Events of an earlier process wait on the disk.")

    # Appending

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        """Make `events` durable, in the main log or on the disk. Raises LogUnavailable when both refuse."""
        if not events:
            return
        refusal: LogUnavailable | None = None
        while True:
            with self._lock:
                if self._mode is not SpillMode.DIRECT or refusal is not None:
                    self._keep(topic, events)
                    if self._mode is SpillMode.DIRECT:
                        self._begin(str(refusal))
                    return
            try:
                self._main.append(topic, events)
                return
            except LogUnavailable as error:
                refusal = error

    def _keep(self, topic: Topic, events: Sequence[Event]) -> None:
        wanted = self._store.room_for(events)
        if self._store.bytes + wanted > self._most_bytes:
            self._refuse(
                f"the spill of {self._settings.most_mb} MB is full; bring it back or raise [spill] most_mb"
            )
        if wanted > self._store.free_bytes:
            self._refuse("the disk of the spill is full; bring it back or make room on the disk")
        self._store.append(topic, events)
        if self._oldest_ms is None:
            self._oldest_ms = events[0].at_ms
        metrics.count(metrics.SPILLED, len(events))
        self._state = self._tell()

    def _refuse(self, why: str) -> NoReturn:
        self._state = self._tell()
        raise LogUnavailable(f"The event log is away and {why}.")

    def _begin(self, why: str) -> None:
        self._enter(SpillMode.SPILLING, why)
        logger.warning("Events are kept on the local disk from now on: %s", why)
        self._drainer = threading.Thread(target=self._drain, name="spill-drain", daemon=True)
        self._drainer.start()

    # Draining, in a thread of its own

    def _drain(self) -> None:
        """Bring everything into the main log, in order; end when nothing is left."""
        waiting: list[tuple[Topic, list[Event]]] = []
        taken = False
        failures = 0
        while not self._stop.is_set():
            try:
                if not taken:
                    waiting = self._take()
                    if not waiting:
                        return
                    taken = True
                while waiting:
                    self._main.append(*waiting[0])
                    waiting.pop(0)
                self._done()
                taken = False
                failures = 0
            except Exception as error:
                self._note(error)
                longest = self._settings.longest_retry_s
                self._stop.wait(min(longest, self._settings.first_retry_s * 2.0 ** min(failures, 20)))
                failures += 1

    def _take(self) -> list[tuple[Topic, list[Event]]]:
        """Return the oldest events by topic, each topic's in order; with none left events go straight again."""
        with self._lock:
            batch = self._store.take(self._settings.drain_records)
            self._oldest_ms = batch[0][1].at_ms if batch else None
            if not batch:
                logger.warning("The event log has everything that was kept on the disk; events go straight again.")
                self._enter(SpillMode.DIRECT, "")
        by_topic: dict[Topic, list[Event]] = {}
        for topic, event in batch:
            by_topic.setdefault(topic, []).append(event)
        return list(by_topic.items())

    def _done(self) -> None:
        with self._lock:
            self._store.done()
            self._enter(SpillMode.DRAINING, "")

    def _note(self, error: Exception) -> None:
        why = str(error) if isinstance(error, CallwardenError) else f"It failed ({type(error).__name__})."
        with self._lock:
            self._enter(SpillMode.SPILLING, why)
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY_S:
            self._said = now
            logger.warning("%d events wait on the local disk: %s", self._store.records, why)

    # State

    @property
    def state(self) -> SpillState:
        """How the spill does, as of the last append or drained batch."""
        return self._state

    @property
    def has_room(self) -> bool:
        """Whether new calls may begin."""
        return self._state.has_room

    def _enter(self, mode: SpillMode, why: str) -> None:
        if mode is not self._mode:
            self._mode = mode
            self._since_ms = self._clock.now_ms()
        self._why = why
        self._state = self._tell()

    def _tell(self) -> SpillState:
        used = self._store.bytes
        # A disk on which others write may have less for us than we are allowed.
        allowed = min(self._most_bytes, used + self._store.free_bytes)
        share = used / allowed if allowed else 1.0
        state = SpillState(
            self._mode,
            self._store.records,
            used,
            share,
            self._since_ms,
            self._oldest_ms,
            share < self._settings.nearly_full,
            self._why,
        )
        oldest_s = (self._clock.now_ms() - self._oldest_ms) / 1000 if self._oldest_ms is not None else 0.0
        metrics.gauge(metrics.SPILL_MODE, _MODE_NUMBER[state.mode])
        metrics.gauge(metrics.SPILL_RECORDS, state.records)
        metrics.gauge(metrics.SPILL_BYTES, state.bytes)
        metrics.gauge(metrics.SPILL_SHARE, state.share)
        metrics.gauge(metrics.SPILL_OLDEST, oldest_s)
        return state

    # Everything else is the main log's

    def read(self, topics: Sequence[Topic], group: Group, most: int, wait_s: float) -> list[Delivery]:
        return self._main.read(topics, group, most, wait_s)

    def commit(self, group: Group, position: Position) -> None:
        self._main.commit(group, position)

    def assignment(self, group: Group) -> frozenset[TopicPartition]:
        return self._main.assignment(group)

    def lag(self, group: Group, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return self._main.lag(group, topics)

    def trim(self, topic: Topic, before_ms: int) -> int:
        return self._main.trim(topic, before_ms)

    def close(self) -> None:
        """Stop draining and close both logs. What is still on the disk is drained by the next process."""
        self._stop.set()
        drainer = self._drainer
        if drainer is not None:
            drainer.join()
        self._main.close()
        self._store.close()
