"""The loop that every consuming stage runs in, and what a stage must offer to it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from events import metrics
from events.clock import Clock, SystemClock
from events.codec import Record
from events.dead_letter import dead_letter_event
from events.errors import CallwardenError, KeyDestroyed, RetryLater, StopConsumer, TooManyBad
from events.log import Delivery, Event, EventLog, Group, Position, TopicPartition
from events.open_calls import OpenCalls as OpenCalls
from events.open_calls import OpenCallsSettings as OpenCallsSettings
from events.sealing import Sealer
from events.topics import Topic

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Opened:
    """A delivery whose event has been unsealed and decoded."""

    delivery: Delivery
    record: Record


Output = tuple[Topic, Record]


class StageHandler(Protocol):
    """A stage's work, without any knowledge of logs, threads or processes.

    The loop hands over one record after the other, appends what the handler gives back, and then commits, per
    partition, the smallest position that the handler still needs. Because delivery is at least once, handlers
    are idempotent: they ignore an `Event.id` they have seen, or make the same output again with the same id.
    """

    name: str
    topics: Sequence[Topic]

    def handle(self, opened: Opened) -> Iterable[Output]:
        """Take one record. Raises RetryLater, NeverRetry, StopConsumer; anything else counts as poison."""
        ...

    def after_batch(self) -> Iterable[Output]:
        """Called after each batch of records, and about ten times a second when there are none."""
        ...

    def made_durable(self) -> None:
        """Called when everything given back so far is in the log, before positions are committed."""
        ...

    def unfinished(self, partition: TopicPartition) -> Position | None:
        """Smallest position of the partition that a successor would need; None when all is done with."""
        ...

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """These partitions belong to another member now: forget the state of their calls."""
        ...


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    most_records: int = 256
    """Records per batch; outputs are made durable and positions committed once per batch."""
    wait_s: float = 0.1
    """How long a read waits; `after_batch` is called at least this often."""
    first_back_off_s: float = 0.05
    longest_back_off_s: float = 5.0
    """Waits after RetryLater double from the first to the longest."""
    most_waiting: int = 2000
    """Nothing more is read while so many records wait behind one that is to be retried."""
    most_bad: int = 20
    bad_window_s: float = 60.0
    """More than `most_bad` poison records within the window stop the stage."""
    lag_every_s: float = 10.0
    """How often the lag is measured for the metrics."""

    def __post_init__(self) -> None:
        if self.most_records < 1 or self.most_waiting < 1 or self.most_bad < 0:
            raise ValueError("A consumer reads at least one record a batch and bears zero or more bad ones.")
        if not 0 < self.first_back_off_s <= self.longest_back_off_s or self.wait_s <= 0:
            raise ValueError("Of a consumer's times, 0 < first_back_off_s <= longest_back_off_s must hold.")


def run_stage(
    log: EventLog,
    sealer: Sealer,
    handler: StageHandler,
    group: Group,
    settings: ConsumerSettings | None = None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> None:
    """Run a stage until `stop` is set: then the batch at hand is finished and committed.

    The caller owns `log` and closes it.

    Raises
    ------
    StopConsumer
        The stage cannot go on (also TooManyBad, and a stage that reads a topic it may not read).
    """
    StageLoop(log, sealer, handler, group, settings, stop, clock).run()


@dataclass(slots=True)
class _Retrying:
    """A partition whose first waiting record is to be handed over again later."""

    waiting: deque[Delivery]
    attempts: int
    due: float


class StageLoop:
    """Reads, unseals, hands over, appends, commits; see `run_stage`."""

    def __init__(
        self,
        log: EventLog,
        sealer: Sealer,
        handler: StageHandler,
        group: Group,
        settings: ConsumerSettings | None = None,
        stop: threading.Event | None = None,
        clock: Clock | None = None,
    ) -> None:
        for topic in handler.topics:
            if handler.name not in topic.readers:
                raise StopConsumer(f"Stage {handler.name} may not read topic {topic.name}.")
        self._log = log
        self._sealer = sealer
        self._handler = handler
        self._group = group
        self._settings = settings or ConsumerSettings()
        self._stop = stop or threading.Event()
        self._clock = clock or SystemClock()
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._done_to: dict[TopicPartition, int] = {}
        self._seen_to: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._retrying: dict[TopicPartition, _Retrying] = {}
        self._outputs: dict[Topic, list[Event]] = {}
        self._bad_at: deque[float] = deque()
        self._handled = 0
        self._lag_due = self._clock.monotonic()
        self._idle_failures = 0
        self._idle_due = float("-inf")

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                self.step()
        except _Stopping:
            _log.info("Stage %s stopped while the log could not be written.", self._handler.name)

    def step(self) -> None:
        """One batch: read, handle, append, commit."""
        deliveries = self._read()
        self._notice_assignment()
        for delivery in deliveries:
            self._take(delivery)
        self._try_again()
        self._after_batch()
        self._append_outputs()
        self._handler.made_durable()
        self._commit()
        self._measure()

    # Reading

    def _read(self) -> list[Delivery]:
        wait_s = self._settings.wait_s
        if self._retrying:
            due = min(retrying.due for retrying in self._retrying.values())
            wait_s = min(wait_s, max(0.0, due - self._clock.monotonic()))
        if sum(len(retrying.waiting) for retrying in self._retrying.values()) >= self._settings.most_waiting:
            self._stop.wait(wait_s)
            return []
        return self._insist(
            lambda: self._log.read(self._handler.topics, self._group, self._settings.most_records, wait_s)
        )

    def _notice_assignment(self) -> None:
        assigned = self._log.assignment(self._group)
        lost = self._assigned - assigned
        self._assigned = assigned
        if lost:
            self._forget(lost)

    def _forget(self, partitions: frozenset[TopicPartition]) -> None:
        for partition in partitions:
            for state in (self._done_to, self._seen_to, self._committed, self._retrying):
                state.pop(partition, None)
        self._handler.revoked(partitions)

    # Handling

    def _take(self, delivery: Delivery) -> None:
        where = delivery.partition
        if delivery.offset < self._seen_to.get(where, 0):
            # Lost and won back between two reads: what was in the making is delivered again from the start.
            self._forget(frozenset({where}))
        self._seen_to[where] = delivery.offset + 1
        retrying = self._retrying.get(where)
        if retrying is not None:
            retrying.waiting.append(delivery)
            return
        try:
            self._handle(delivery)
        except RetryLater as error:
            self._retrying[where] = _Retrying(deque([delivery]), 0, 0.0)
            self._put_off(self._retrying[where], error)

    def _put_off(self, retrying: _Retrying, error: RetryLater) -> None:
        metrics.count(metrics.RETRIES, stage=self._handler.name)
        if retrying.attempts == 0:
            _log.warning("Stage %s tries a record again later: %s", self._handler.name, error)
        retrying.due = self._clock.monotonic() + self._back_off_s(retrying.attempts)
        retrying.attempts += 1

    def _back_off_s(self, attempts: int) -> float:
        return min(self._settings.longest_back_off_s, self._settings.first_back_off_s * 2.0 ** min(attempts, 30))

    def _try_again(self) -> None:
        now = self._clock.monotonic()
        for where, retrying in list(self._retrying.items()):
            if retrying.due > now:
                continue
            try:
                while retrying.waiting:
                    self._handle(retrying.waiting[0])
                    retrying.waiting.popleft()
                    retrying.attempts = 0
            except RetryLater as error:
                self._put_off(retrying, error)
            else:
                del self._retrying[where]

    def _handle(self, delivery: Delivery) -> None:
        """Hand one record over; its outputs are sealed with it, so that a failure there is this record's."""
        try:
            record = self._sealer.record(delivery.topic, delivery.event)
            self._seal(list(self._handler.handle(Opened(delivery, record))))
            self._handled += 1
        except KeyDestroyed:
            pass
        except (RetryLater, StopConsumer, _Stopping):
            raise
        except Exception as error:
            self._bury(delivery, error)
        self._done_to[delivery.partition] = delivery.offset + 1

    def _seal(self, outputs: Sequence[Output]) -> None:
        sealed: list[tuple[Topic, Event]] = []
        for topic, record in outputs:
            if self._handler.name not in topic.writers:
                raise StopConsumer(f"Stage {self._handler.name} may not write topic {topic.name}.")
            try:
                # Never handed over again for this: the handler may ignore what it has seen, and give no output.
                event = self._insist(lambda topic=topic, record=record: self._sealer.event(topic, record))  # type: ignore[misc]
            except KeyDestroyed:
                continue  # The call was erased: nothing of it is written any more.
            sealed.append((topic, event))
        for topic, event in sealed:
            self._outputs.setdefault(topic, []).append(event)

    def _bury(self, delivery: Delivery, error: Exception) -> None:
        reason = describe(error)
        _log.error(
            "Stage %s put a record into the dead letters (topic %s, partition %d, offset %d): %s",
            self._handler.name,
            delivery.topic.name,
            delivery.partition.partition,
            delivery.offset,
            reason,
        )
        metrics.count(metrics.DEAD_LETTERS, stage=self._handler.name)
        letter = dead_letter_event(delivery, self._handler.name, reason, self._clock.now_ms())
        self._outputs.setdefault(delivery.topic.dead_letter, []).append(letter)
        self._count_bad()

    def _count_bad(self) -> None:
        now = self._clock.monotonic()
        self._bad_at.append(now)
        while self._bad_at[0] < now - self._settings.bad_window_s:
            self._bad_at.popleft()
        if len(self._bad_at) > self._settings.most_bad:
            raise TooManyBad(
                f"Stage {self._handler.name} met {len(self._bad_at)} bad records within "
                f"{self._settings.bad_window_s:g} s and stops rather than drain its topics into the dead letters."
            )

    def _after_batch(self) -> None:
        if self._clock.monotonic() < self._idle_due:
            return
        try:
            self._seal(list(self._handler.after_batch()))
            self._idle_failures = 0
        except RetryLater:
            metrics.count(metrics.RETRIES, stage=self._handler.name)
            self._idle_due = self._clock.monotonic() + self._back_off_s(self._idle_failures)
            self._idle_failures += 1
        except (StopConsumer, _Stopping):
            raise
        except Exception as error:
            _log.error("Stage %s failed between batches: %s", self._handler.name, describe(error))
            self._count_bad()

    # Making durable

    def _append_outputs(self) -> None:
        for topic in list(self._outputs):
            events = self._outputs[topic]
            self._insist(lambda topic=topic, events=events: self._log.append(topic, events))  # type: ignore[misc]
            del self._outputs[topic]

    def _commit(self) -> None:
        """Commit per partition what was handled and the handler needs no more, never backwards."""
        for where, done_to in self._done_to.items():
            upto = done_to
            needed = self._handler.unfinished(where)
            if needed is not None:
                upto = min(upto, needed.offset)
            if upto > self._committed.get(where, 0):
                position = Position(where, upto)
                self._insist(lambda position=position: self._log.commit(self._group, position))  # type: ignore[misc]
                self._committed[where] = upto

    def _insist(self, action: Callable[[], _T]) -> _T:
        """Do what the log must do, waiting for as long as it is away. Raises _Stopping when told to stop."""
        attempts = 0
        while True:
            try:
                return action()
            except RetryLater as error:
                if attempts == 0:
                    _log.warning("Stage %s waits: %s", self._handler.name, error)
                if self._stop.wait(self._back_off_s(attempts)):
                    raise _Stopping from None
                attempts += 1

    def _measure(self) -> None:
        if self._handled:
            metrics.count(metrics.EVENTS_HANDLED, self._handled, stage=self._handler.name)
            self._handled = 0
        now = self._clock.monotonic()
        if now < self._lag_due:
            return
        self._lag_due = now + self._settings.lag_every_s
        lag = self._insist(lambda: self._log.lag(self._group, self._handler.topics))
        mine = sum(behind for where, behind in lag.items() if where in self._assigned)
        metrics.gauge(metrics.STAGE_LAG, mine, stage=self._handler.name)


class _Stopping(Exception):
    """The loop was told to stop while it waited for the log: nothing of this batch is committed."""


_UNTOLD: Final = "unexpected"


def describe(error: Exception) -> str:
    """Say what went wrong without the texts of foreign exceptions, which may quote what somebody said."""
    if isinstance(error, CallwardenError):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__} ({_UNTOLD})"
