"""The index made anew from the event log, beside a running indexer.

Every call is folded from the beginning of the log, and put only if nothing gets lost by it: the log keeps events
for a month, the index may keep calls for years, and the indexer goes on writing meanwhile. So a document of the
index is replaced only by one that covers it, and only while it is the one that was compared (`onto`). Calls that
were forgotten stay so, because the index refuses them and because the log's keys are gone.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import msgspec

from events.call_document import CallDocument, DocumentLeg
from events.clock import Clock, SystemClock
from events.errors import KeyDestroyed, NeverRetry, RetryLater, SealBroken
from events.identity import CallId
from events.log import Delivery, EventLog, Group, StartAt, TopicPartition
from events.sealing import Sealer
from indexer.fold import fold
from indexer.index import CallIndex, PutOutcome
from indexer.retention import oldest_kept_ms
from indexer.worker import IndexerStage

_READ_AT_ONCE: Final = 2_000
_PUT_AT_ONCE: Final = 50
_ROUNDS: Final = 4
"""How often a call is compared again that the indexer, or somebody else, changed meanwhile."""
_T = TypeVar("_T")

Tell = Callable[[str, int, int], None]
"""Told (what is being done, how much is done, of how much)."""


@dataclass(frozen=True, slots=True)
class RebuildSettings:
    calls_in_memory: int = 500
    """Calls whose documents are kept at hand; others wait in a temporary file."""
    patience_s: float = 120.0
    """How long an index or log that is away is waited for."""

    def __post_init__(self) -> None:
        if self.calls_in_memory < 1 or self.patience_s < 0:
            raise ValueError("A rebuild keeps at least one call in memory and waits 0 s or longer.")


@dataclass(slots=True)
class Rebuilt:
    """Counts calls, each once, but for `unreadable`."""

    written: int = 0
    unchanged: int = 0
    kept: int = 0
    """The index holds more of the call than the log does: left as it is."""
    forgotten: int = 0
    expired: int = 0
    """Older than the index keeps calls."""
    failed: int = 0
    """Changed by others again and again."""
    unreadable: int = 0
    """Records, not calls."""
    not_in_log: int = 0
    """Calls of the index of which the log has nothing any more: left as they are."""


class LogRebuild:
    """Reads the log from its beginning as a group of its own, and puts what the index lacks.

    Parameters
    ----------
    open_log
        Opens the log once more; what it returns is closed here.
    sealer
        Opens records.
    index
        The index; other processes may use it meanwhile.
    keep_days
        Calls older than this are left out; 0 for none (`IndexerSettings`).
    tell
        Is told how far it is.
    """

    def __init__(
        self,
        open_log: Callable[[], EventLog],
        sealer: Sealer,
        index: CallIndex,
        keep_days: float = 0.0,
        settings: RebuildSettings | None = None,
        tell: Tell = lambda what, done, total: None,
        clock: Clock | None = None,
    ) -> None:
        self._open_log = open_log
        self._sealer = sealer
        self._index = index
        self._keep_days = keep_days
        self._settings = settings or RebuildSettings()
        self._tell = tell
        self._clock = clock or SystemClock()
        self._group = f"index-rebuild-{secrets.token_hex(6)}"
        self._seen: Counter[TopicPartition] = Counter()
        self._offsets: dict[TopicPartition, int] = {}
        self._erased: set[CallId] = set()
        self._counts = Rebuilt()

    def run(self) -> Rebuilt:
        """Do it.

        Raises
        ------
        RetryLater
            Log or index were away for longer than `patience_s`. What was written stays; run it again.
        """
        counts = self._counts
        log = self._open_log()
        spool = _Spool(self._settings.calls_in_memory)
        try:
            self._drain(log, spool)
            waiting: list[CallId] = [call for call in spool.calls() if call not in self._erased]
            for turn in range(_ROUNDS):
                if turn and waiting:
                    # What the index has more than we had may have come to the log meanwhile.
                    self._drain(log, spool)
                stale, behind = self._compare(spool, waiting, again=turn > 0)
                waiting = stale + behind
                if turn and not stale:
                    break
            counts.kept += len(behind)
            counts.failed += len(stale)
            counts.forgotten += len(self._erased)
        finally:
            spool.close()
            log.close()
            self._leave_no_group()
        in_log = counts.written + counts.unchanged + counts.kept + counts.failed
        calls = self._insist(lambda: self._index.status().calls)
        counts.not_in_log = max(0, calls - in_log)
        return counts

    # From the log into documents

    def _drain(self, log: EventLog, spool: _Spool) -> None:
        """Read on until everything is read that lay in the log when this began."""
        group, topics = Group(self._group), IndexerStage.topics
        target = dict(self._insist(lambda: log.lag(group, topics)))
        while True:
            deliveries = self._insist(lambda: log.read(topics, group, _READ_AT_ONCE, 0.3))
            for delivery in deliveries:
                self._take(delivery, spool)
            total = max(sum(target.values()), self._seen.total())
            self._tell("events read", self._seen.total(), total)
            if len(deliveries) == _READ_AT_ONCE:
                continue
            if not deliveries:
                # Events that were too old may have left the log before they were read.
                now = self._insist(lambda: log.lag(group, topics))
                target = {where: min(count, now.get(where, 0)) for where, count in target.items()}
            if all(self._seen[where] >= count for where, count in target.items()):
                return

    def _take(self, delivery: Delivery, spool: _Spool) -> None:
        if delivery.offset <= self._offsets.get(delivery.partition, -1):
            return  # delivered again
        self._offsets[delivery.partition] = delivery.offset
        self._seen[delivery.partition] += 1
        call = CallId(delivery.event.key)
        if call in self._erased:
            return
        try:
            spool[call] = fold(spool[call], self._sealer.record(delivery.topic, delivery.event))
        except KeyDestroyed:
            self._erased.add(call)
        except (NeverRetry, SealBroken):
            self._counts.unreadable += 1

    # From documents into the index

    def _compare(self, spool: _Spool, calls: Iterable[CallId], again: bool) -> tuple[list[CallId], list[CallId]]:
        """Put what is new; return the calls that changed meanwhile, and those that the log knows less of."""
        calls = list(calls)
        stale: list[CallId] = []
        behind: list[CallId] = []
        oldest_ms = oldest_kept_ms(self._clock, self._keep_days)
        for first in range(0, len(calls), _PUT_AT_ONCE):
            some = calls[first : first + _PUT_AT_ONCE]
            puts: list[tuple[CallDocument, int | None]] = []
            for call in some:
                new = spool[call]
                if new is None or call in self._erased:
                    continue
                if 0 < new.started_at_ms < oldest_ms:
                    self._counts.expired += 1
                    continue
                old = self._insist(lambda call=call: self._index.get(call))  # type: ignore[misc]
                if old is None:
                    puts.append((new, 0))
                elif replace(new, revision=old.revision) == old:
                    self._counts.unchanged += 1
                elif covers(new, old):
                    puts.append((replace(new, revision=max(new.revision, old.revision + 1)), old.revision))
                else:
                    behind.append(call)
            outcomes = self._insist(lambda puts=puts: self._index.put_all(puts)) if puts else []  # type: ignore[misc]
            for (document, _), outcome in zip(puts, outcomes, strict=True):
                self._counts.written += outcome is PutOutcome.STORED
                self._counts.forgotten += outcome is PutOutcome.FORGOTTEN
                self._counts.failed += outcome is PutOutcome.REFUSED
                if outcome is PutOutcome.STALE:
                    stale.append(document.call)
            if not again:
                self._tell("calls compared", first + len(some), len(calls))
        return stale, behind

    # Around both

    def _insist(self, action: Callable[[], _T]) -> _T:
        """Wait for what is away, for as long as the settings say."""
        deadline = self._clock.monotonic() + self._settings.patience_s
        pause_s = 0.1
        while True:
            try:
                return action()
            except RetryLater:
                if self._clock.monotonic() >= deadline:
                    raise
                threading.Event().wait(pause_s)
                pause_s = min(5.0, 2 * pause_s)

    def _leave_no_group(self) -> None:
        """Joined once more as one that starts at the end, a group without positions leaves nothing behind."""
        log = self._open_log()
        try:
            log.read(IndexerStage.topics, Group(self._group, StartAt.LAST), 1, 0.0)
        except RetryLater:
            pass  # It costs a few kilobytes.
        finally:
            log.close()


def covers(new: CallDocument, old: CallDocument) -> bool:
    """Return whether everything that is known in `old` is known in `new`, in the same or a newer revision."""
    legs = {leg.leg: leg for leg in new.legs}
    revisions = {segment.id: segment.revision for segment in new.segments}
    return (
        (old.started_at_ms == 0 or new.started_at_ms > 0)
        and (old.ended_at_ms is None or new.ended_at_ms is not None)
        and (old.recording is None or new.recording is not None)
        and (new.transcript_ended or not old.transcript_ended)
        and set(old.interruptions) <= set(new.interruptions)
        and all(leg.leg in legs and _covers_leg(legs[leg.leg], leg) for leg in old.legs)
        and all(revisions.get(segment.id, -1) >= segment.revision for segment in old.segments)
        and {item.leg for item in old.speaker_turns} <= {item.leg for item in new.speaker_turns}
        and {item.id for item in old.findings} <= {item.id for item in new.findings}
        and {item.id for item in old.alerts} <= {item.id for item in new.alerts}
        and {item.alert for item in old.answers} <= {item.alert for item in new.answers}
        and {(item.alert, item.channel) for item in old.deliveries}
        <= {(item.alert, item.channel) for item in new.deliveries}
    )


def _covers_leg(new: DocumentLeg, old: DocumentLeg) -> bool:
    return (
        (bool(new.encoding) or not old.encoding)
        and _covers_holds(new, old)
        and new.transcribed_to_ms >= old.transcribed_to_ms
        and (new.transcript_ended or not old.transcript_ended)
    )


def _covers_holds(new: DocumentLeg, old: DocumentLeg) -> bool:
    """Compare the moments, not the pairs: a hold that turns out to end where it began is gone again."""
    held = {begin for begin, end in new.holds if end is None or begin < end}
    resumed = {end for _, end in new.holds if end is not None}
    return {end for _, end in old.holds if end is not None} <= resumed and {
        begin for begin, end in old.holds if end is None or begin < end
    } <= held | resumed


class _Spool:
    """Documents in the making: the newest used in memory, all others in a file that has no name.

    SQLite removes the name of a temporary database when it opens it, so nothing of it outlives the process.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._near: OrderedDict[CallId, CallDocument] = OrderedDict()
        self._far = sqlite3.connect("", isolation_level=None)
        self._far.execute("PRAGMA journal_mode = OFF")
        self._far.execute("CREATE TABLE documents (call TEXT PRIMARY KEY, document BLOB) WITHOUT ROWID")
        self._decoder = msgspec.msgpack.Decoder(CallDocument)

    def __getitem__(self, call: CallId) -> CallDocument | None:
        found = self._near.get(call)
        if found is None:
            row = self._far.execute("SELECT document FROM documents WHERE call = ?", (call,)).fetchone()
            return None if row is None else self._decoder.decode(zlib.decompress(row[0]))
        return found

    def __setitem__(self, call: CallId, document: CallDocument) -> None:
        self._near[call] = document
        self._near.move_to_end(call)
        while len(self._near) > self._most:
            old, written = self._near.popitem(last=False)
            packed = zlib.compress(msgspec.msgpack.encode(written), 1)
            self._far.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (old, packed))

    def calls(self) -> Iterator[CallId]:
        far = {CallId(call) for (call,) in self._far.execute("SELECT call FROM documents")}
        return iter(sorted(far | self._near.keys()))

    def close(self) -> None:
        self._near.clear()
        self._far.close()
