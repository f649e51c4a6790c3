"""Calls in progress and alerts as they come, for everybody who watches.

One thread tails the event log and keeps, in bounded memory, what the live pages show. Watchers get every change
through a queue of their own; one that cannot keep up is told to load its page again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from console.web.live_call import Fact, LiveCall
from console.web.live_messages import (
    RESYNC,
    Message,
    alert_message,
    answer_message,
    call_message,
    turn_message,
)
from events.call_document import CallDocument, CallState
from events.clock import Clock, SystemClock
from events.codec import Record
from events.errors import CallwardenError, RetryLater
from events.finding import Alert, AlertAnswered
from events.identity import CallId, RecordId
from events.lifecycle import CallEnded, CallStarted, LegAdded, LegHeld, LegResumed
from events.log import Delivery, EventLog, Group, StartAt
from events.sealing import Sealer
from events.topics import ALERT, CALL_LIFECYCLE, TRANSCRIPT_PARTIAL, TRANSCRIPT_REDACTED
from events.transcript import RedactedSegment
from indexer.index import CallIndex, CallQuery, SearchOrder

_log: Final = logging.getLogger(__name__)
_TOPICS: Final = (CALL_LIFECYCLE, TRANSCRIPT_REDACTED, TRANSCRIPT_PARTIAL, ALERT)
_GROUP: Final = Group("console", StartAt.LAST)
_MOST_ALERTS: Final = 200
_MOST_ENDED: Final = 5_000
_MOST_QUEUED: Final = 1_000
_FOLLOWING_WITHIN_S: Final = 10.0
_SHOW_ENDED_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class LiveAlert:
    alert: Alert
    answer: AlertAnswered | None = None


class Watcher:
    """A queue of messages for one open page."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: CallId | None) -> None:
        self._loop = loop
        self._call = call
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()

    def offer(self, message: Message | None) -> None:
        if message is not None and self._call is not None and message.get("call") not in (self._call, None):
            return
        # When the loop has ended, so has the page.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._put, message)

    def _put(self, message: Message | None) -> None:
        if self._queue.qsize() >= _MOST_QUEUED:
            while not self._queue.empty():
                self._queue.get_nowait()
            message = RESYNC
        self._queue.put_nowait(message)

    async def next(self, wait_s: float) -> Message | None:
        """Return the next message. Raises TimeoutError when none comes, and returns None when the feed stops."""
        return await asyncio.wait_for(self._queue.get(), wait_s)


class LiveFeed:
    def __init__(
        self, open_log: Callable[[], EventLog], sealer: Sealer, index: CallIndex, clock: Clock | None = None
    ) -> None:
        self._open_log = open_log
        self._sealer = sealer
        self._index = index
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._calls: OrderedDict[CallId, LiveCall] = OrderedDict()
        self._alerts: OrderedDict[RecordId, LiveAlert] = OrderedDict()
        self._early_answers: dict[RecordId, AlertAnswered] = {}
        self._ended: OrderedDict[CallId, None] = OrderedDict()
        self._watchers: set[Watcher] = set()
        self._stop = threading.Event()
        self._following = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Return when the thread follows the log: whatever is appended from now on is seen."""
        self._thread = threading.Thread(target=self._run, name="live-feed", daemon=True)
        self._thread.start()
        self._following.wait(_FOLLOWING_WITHIN_S)

    def stop(self) -> None:
        """End the thread, and every page's stream with it."""
        self._stop.set()
        with self._lock:
            for watcher in self._watchers:
                watcher.offer(None)
        if self._thread is not None:
            self._thread.join(10)

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    @contextmanager
    def watching(self, call: CallId | None = None) -> Iterator[tuple[Watcher, list[Message]]]:
        """Within it, changes (of one call, or of all) are queued for the running asyncio loop.

        Beside the watcher comes the state at its beginning as messages: the page may be older than the stream, or
        may have lost its connection for a while.
        """
        watcher = Watcher(asyncio.get_running_loop(), call)
        with self._lock:
            state = self._state(call)
            self._watchers.add(watcher)
        try:
            yield watcher, state
        finally:
            with self._lock:
                self._watchers.discard(watcher)

    def _state(self, call: CallId | None) -> list[Message]:
        shown = [live for live in self.calls() if call in (None, live.call)]
        known = {live.call for live in shown}
        waiting = [item.alert for item in self.alerts() if item.answer is None and item.alert.call in known]
        messages: list[Message] = [
            {"type": "now", "calls": sorted(known), "alerts": [alert.id for alert in waiting]},
        ]
        for live in reversed(shown):
            messages.append(call_message(live))
            messages += [turn_message(turn) for turn in live.turns()[-2 if call is None else 0 :]]
            if live.ended_ms is not None:
                messages.append({"type": "ended", "call": live.call})
        return messages + [alert_message(alert) for alert in reversed(waiting)]

    def calls(self) -> list[LiveCall]:
        """Calls in progress (and those that ended a moment ago), newest first."""
        with self._lock:
            self._sweep()
            return sorted(self._calls.values(), key=lambda live: (-live.started_at_ms, live.call))

    def call(self, call: CallId) -> LiveCall | None:
        with self._lock:
            return self._calls.get(call)

    def alerts(self) -> list[LiveAlert]:
        """Newest first, those without an answer before the others."""
        with self._lock:
            return sorted(
                self._alerts.values(), key=lambda item: (item.answer is not None, -item.alert.raised_at_ms)
            )

    def alert(self, alert: RecordId) -> LiveAlert | None:
        with self._lock:
            return self._alerts.get(alert)

    def _run(self) -> None:
        log = self._open_log()
        try:
            # Joining first and reading the index then leaves no hole; what comes twice has the same id.
            pending = self._read(log, 0.0)
            self.seed()
            self._following.set()
            while not self._stop.is_set():
                for delivery in pending:
                    self._open(delivery)
                self._commit(log, pending)
                pending = self._read(log, 0.5)
        finally:
            log.close()

    def _read(self, log: EventLog, wait_s: float) -> list[Delivery]:
        try:
            return log.read(_TOPICS, _GROUP, 500, wait_s)
        except RetryLater as error:
            _log.warning("%s", error)
            self._stop.wait(1.0)
            return []

    def _commit(self, log: EventLog, deliveries: list[Delivery]) -> None:
        newest = {delivery.partition: delivery.after for delivery in deliveries}
        try:
            for position in newest.values():
                log.commit(_GROUP, position)
        except RetryLater as error:
            _log.warning("%s", error)

    def _open(self, delivery: Delivery) -> None:
        try:
            record = self._sealer.record(delivery.topic, delivery.event)
        except CallwardenError:
            # Its key was destroyed, or it is for the dead-letter topic of a stage that must handle it.
            return
        self.take(record)

    def seed(self) -> None:
        """Take up calls in progress and open alerts from the index."""
        try:
            for query in (
                CallQuery(states=(CallState.IN_PROGRESS,), page_size=200, order=SearchOrder.NEWEST),
                CallQuery(has_findings=True, page_size=100, order=SearchOrder.NEWEST),
            ):
                for hit in self._index.search(query).hits:
                    if hit.summary.state is CallState.IN_PROGRESS or hit.summary.alerts:
                        document = self._index.get(hit.summary.call)
                        if document is not None:
                            self._take_document(document)
        except CallwardenError as error:
            _log.warning("The live pages start without calls from the index: %s", error)

    def _take_document(self, document: CallDocument) -> None:
        for alert in document.alerts:
            self.take(alert)
        for answer in document.answers:
            self.take(answer)
        if document.state is not CallState.IN_PROGRESS:
            return
        with self._lock:
            live = self._live(document.call)
            if live is None:
                return
            live.started_at_ms = document.started_at_ms
            live.from_uri, live.to_uri = document.from_uri, document.to_uri
            for leg in document.legs:
                live.speakers[leg.leg] = (leg.role, leg.speaker_name)
            for segment in document.segments:
                live.hear(segment)

    def take(self, record: Record) -> None:
        """Note one record and tell the watchers; safe from any thread."""
        with self._lock:
            message = self._message(record)
            if message is not None:
                for watcher in self._watchers:
                    watcher.offer(message)

    def _message(self, record: Record) -> Message | None:
        match record:
            case Alert():
                return self._take_alert(record)
            case AlertAnswered():
                return self._take_answer(record)
            case CallStarted() | LegAdded() | LegHeld() | LegResumed():
                return self._take_fact(record)
            case RedactedSegment():
                return self._take_segment(record)
            case CallEnded():
                return self._take_end(record)
            case _:
                return None

    def _take_fact(self, fact: Fact) -> Message | None:
        live = self._live(fact.call)
        if live is None:
            return None
        live.note(fact)
        return call_message(live)

    def _take_segment(self, segment: RedactedSegment) -> Message | None:
        live = self._live(segment.call)
        turn = None if live is None else live.hear(segment)
        return None if turn is None else turn_message(turn)

    def _live(self, call: CallId) -> LiveCall | None:
        if call in self._ended:
            return self._calls.get(call)
        return self._calls.setdefault(call, LiveCall(call))

    def _take_end(self, record: CallEnded) -> Message:
        self._ended[record.call] = None
        while len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)
        live = self._calls.get(record.call)
        if live is not None:
            live.ended_ms = self._clock.now_ms()
            live.partials.clear()
        self._sweep()
        return {"type": "ended", "call": record.call}

    def _sweep(self) -> None:
        now = self._clock.now_ms()
        over = [c for c, live in self._calls.items() if live.ended_ms and now - live.ended_ms > _SHOW_ENDED_MS]
        for call in over:
            del self._calls[call]

    def _take_alert(self, alert: Alert) -> Message | None:
        if alert.id in self._alerts:
            return None
        self._alerts[alert.id] = LiveAlert(alert, self._early_answers.pop(alert.id, None))
        while len(self._alerts) > _MOST_ALERTS:
            self._alerts.popitem(last=False)
        return alert_message(alert)

    def _take_answer(self, answer: AlertAnswered) -> Message | None:
        known = self._alerts.get(answer.alert)
        if known is None:
            if len(self._early_answers) < _MOST_ALERTS:
                self._early_answers.setdefault(answer.alert, answer)
            return None
        if known.answer is not None:
            return None  # The first answer stands.
        self._alerts[answer.alert] = LiveAlert(known.alert, answer)
        return answer_message(answer)
