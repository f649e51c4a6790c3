"""The indexer stage: takes a call's records from five topics and puts its document once a batch."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from events.call_document import CallDocument
from events.clock import Clock, SystemClock
from events.codec import Record
from events.consumer import Opened, Output
from events.errors import RetryLater
from events.identity import CallId
from events.log import Position, TopicPartition
from events.topics import ALERT, CALL_LIFECYCLE, CALL_RECORDING, FINDING, TRANSCRIPT_REDACTED, Topic
from events.transcript import LegProgress
from indexer.fold import fold
from indexer.index import CallIndex, PutOutcome
from indexer.retention import LEAST_KEEP_DAYS, IndexRetention

_LOG: Final = logging.getLogger(__name__)
_MOST_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class IndexerSettings:
    cached_calls: int = 1_000
    """Documents kept in memory, so that a live call is not read from the index for each record."""
    progress_every_s: float = 2.0
    """A call of which nothing but progress came is put this often: progress comes several times a second."""
    keep_days: float = 0.0
    """Calls that started longer ago leave the index; 0 keeps them all. Elasticsearch drops whole months, so there a
    call stays for up to a month longer."""
    expire_every_s: float = 3_600.0
    """How often calls older than `keep_days` are looked for."""
    refused_again_s: float = 30.0
    """A document that the index refuses is put again this often: a mapping that is wrong can be mended."""
    refused_for_s: float = 3_600.0
    """After this time it is given up; `callwarden index rebuild` puts it later, as long as the log has its events."""

    def __post_init__(self) -> None:
        if self.cached_calls < 1 or self.progress_every_s < 0:
            raise ValueError("The indexer keeps at least one call in memory and waits 0 s or longer for progress.")
        if self.keep_days and not self.keep_days >= LEAST_KEEP_DAYS:
            raise ValueError(
                f"The index keeps calls for ever (keep_days = 0) or for at least {LEAST_KEEP_DAYS:g} days, which is "
                "longer than the event log keeps their events."
            )
        if not (self.expire_every_s > 0 and 0 < self.refused_again_s <= self.refused_for_s):
            raise ValueError(
                "Of the indexer's times, expire_every_s > 0 and 0 < refused_again_s <= refused_for_s must hold."
            )


@dataclass(slots=True)
class _Waiting:
    """A record that is folded, but not in the index yet."""

    position: Position
    record: Record


@dataclass(slots=True)
class _Call:
    document: CallDocument | None
    """As the index has it, with `waiting` folded on; None when the index has nothing."""
    indexed: int = 0
    """The revision that the index has."""
    waiting: list[_Waiting] = field(default_factory=list)
    put_due: float = 0.0
    refused_at: float | None = None
    """When the index refused the document first."""


class IndexerStage:
    """See `events.consumer.StageHandler`.

    Several indexers may work on one call, because its topics are read independently. Each folds onto what it
    knows, and the index refuses whichever document was not made from the newest one; then the loser takes that
    one and folds its records again.
    """

    name = "indexer"
    topics: Sequence[Topic] = (CALL_LIFECYCLE, TRANSCRIPT_REDACTED, FINDING, ALERT, CALL_RECORDING)

    def __init__(
        self, index: CallIndex, settings: IndexerSettings | None = None, clock: Clock | None = None
    ) -> None:
        self._index = index
        self._settings = settings or IndexerSettings()
        self._clock = clock or SystemClock()
        self._calls: OrderedDict[CallId, _Call] = OrderedDict()
        self._waiting_calls: dict[CallId, _Call] = {}
        self._retention = IndexRetention(
            index, self._settings.keep_days, self._settings.expire_every_s, self._clock
        )

    def handle(self, opened: Opened) -> Iterable[Output]:
        record = opened.record
        name = CallId(opened.delivery.event.key)
        call = self._calls.get(name)
        if call is None:
            found = self._index.get(name)
            call = self._calls[name] = _Call(found, _revision(found))
        self._calls.move_to_end(name)
        document = fold(call.document, record)
        if document.revision == _revision(call.document):
            return ()
        call.document = document
        patience_s = self._settings.progress_every_s if isinstance(record, LegProgress) else 0.0
        due = self._clock.monotonic() + patience_s
        if call.refused_at is None:
            call.put_due = min(call.put_due, due) if call.waiting else due
        call.waiting.append(_Waiting(opened.delivery.position, record))
        self._waiting_calls[name] = call
        return ()

    def after_batch(self) -> Iterable[Output]:
        now = self._clock.monotonic()
        due = [name for name, call in self._waiting_calls.items() if call.put_due <= now]
        for _ in range(_MOST_ROUNDS):
            if not due:
                break
            due = self._put(due)
        if self._retention.step():
            self._forget_cached()
        self._shrink()
        if due:
            raise RetryLater("Other indexers keep changing the same calls; their documents are put again later.")
        return ()

    def made_durable(self) -> None:
        """Nothing to do: the index was durable when `put_all` returned, and this stage writes no topic."""

    def unfinished(self, partition: TopicPartition) -> Position | None:
        offsets = [
            item.position.offset
            for call in self._waiting_calls.values()
            for item in call.waiting
            if item.position.partition == partition
        ]
        return Position(partition, min(offsets)) if offsets else None

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Their next reader gets these records again; what came from other partitions stays with us."""
        for name, call in list(self._waiting_calls.items()):
            call.waiting = [item for item in call.waiting if item.position.partition not in partitions]
            if not call.waiting:
                del self._waiting_calls[name]
        # Others may write these calls from now on. Where records wait, the next put is refused and folds again.
        self._forget_cached()

    def _put(self, names: list[CallId]) -> list[CallId]:
        """Put the documents of these calls; return those to try again, folded onto what the index has now."""
        calls = [self._waiting_calls[name] for name in names]
        documents = [(call.document, call.indexed) for call in calls if call.document is not None]
        stale: list[CallId] = []
        for name, outcome in zip(names, self._index.put_all(documents), strict=True):
            if outcome is PutOutcome.STORED:
                call = self._waiting_calls.pop(name)
                call.waiting.clear()
                call.indexed = _revision(call.document)
                call.refused_at = None
            elif outcome is PutOutcome.FORGOTTEN:
                del self._waiting_calls[name], self._calls[name]
            elif outcome is PutOutcome.REFUSED:
                self._put_off(name)
            else:
                stale.append(name)
        for name in stale:
            call = self._waiting_calls[name]
            call.document = self._index.get(name)
            call.indexed = _revision(call.document)
            for item in call.waiting:
                call.document = fold(call.document, item.record)
        return stale

    def _put_off(self, name: CallId) -> None:
        """Hold a refused document and its records back, and give it up in the end: it must not hold up others."""
        call = self._waiting_calls[name]
        now = self._clock.monotonic()
        if call.refused_at is None:
            call.refused_at = now
        if now - call.refused_at < self._settings.refused_for_s:
            call.put_due = now + self._settings.refused_again_s
            return
        _LOG.error(
            "Call %s is given up because the index refuses it; `callwarden index rebuild` puts it later.", name
        )
        del self._waiting_calls[name], self._calls[name]

    def _forget_cached(self) -> None:
        for name in [name for name in self._calls if name not in self._waiting_calls]:
            del self._calls[name]

    def _shrink(self) -> None:
        for name in list(self._calls):
            if len(self._calls) <= self._settings.cached_calls:
                return
            if name not in self._waiting_calls:
                del self._calls[name]


def _revision(document: CallDocument | None) -> int:
    return 0 if document is None else document.revision
