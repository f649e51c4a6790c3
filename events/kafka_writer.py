"""Writing: events handed to the client in order, and their acknowledgements waited for."""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kafka import errors as kafka_errors
from kafka.partitioner.default import murmur2

from events import metrics
from events.errors import LogUnavailable
from events.kafka_connection import in_our_words, new_producer
from events.kafka_diagnosis import nobody_there
from events.kafka_record import headers_of
from events.kafka_settings import KafkaSettings
from events.kafka_topics import KafkaCluster, close_producer, topic_name
from events.log import Event
from events.topics import Topic

_CLOSE_S: Final = 2.0
_FAIL_FAST_S: Final = 1.0
_WHAT: Final = "take events"


@functools.lru_cache(maxsize=65_536)
def partition_of(key: bytes, count: int) -> int:
    """Return a key's partition, as every Kafka client reckons it."""
    return int((murmur2(key) & 0x7FFFFFFF) % count)


class KafkaWriter:
    """Appends, from several threads.

    What was handed to the client and is not acknowledged in time is *undecided*: it is still on its way, and a
    writer that forgot it and sent it again would double it. So all events of an append that failed are remembered,
    also those that were acknowledged; when the same ones are appended again, only the others are sent.
    """

    def __init__(self, settings: KafkaSettings, cluster: KafkaCluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._changed = threading.Condition()
        self._pending = 0
        self._users = 0
        self._waiting = 0
        self._undecided: OrderedDict[tuple[str, str], tuple[Event, Any]] = OrderedDict()
        self._producer: Any = None
        self._suspect = False
        self._failed_at = float("-inf")
        self._closed = False

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        self._cluster.ensure([topic])
        at_once = self._settings.most_pending // 2
        taken: list[tuple[Event, Any]] = []
        with self._changed:
            self._users += 1
        try:
            for start in range(0, len(events), at_once):
                piece = events[start : start + at_once]
                taken += zip(piece, self._append(topic, piece), strict=True)
        except BaseException:
            self._remember(topic_name(self._settings, topic), taken)
            raise
        finally:
            with self._changed:
                self._users -= 1

    def close(self) -> None:
        with self._changed:
            self._closed = True
            producer, self._producer = self._producer, None
        if producer is not None:
            close_producer(producer, _CLOSE_S)

    def _append(self, topic: Topic, events: Sequence[Event]) -> list[Any]:
        """Append as many as may be under way at once; return their acknowledgements."""
        deadline = time.monotonic() + self._settings.append_within_s
        name, count = topic_name(self._settings, topic), topic.partitions
        under_way = self._under_way(name, events)
        self._make_room(len(events) - len(under_way), deadline)
        futures: list[Any] = []
        try:
            with in_our_words(self._settings, _WHAT):
                send = self._opened().send
                for event in events:
                    future = under_way.get(event.id)
                    if future is None:
                        key = event.key.encode()
                        future = send(
                            name, event.value, key, headers_of(event), partition_of(key, count), event.at_ms
                        )
                    futures.append(future)
                self._wait(futures, deadline)
        finally:
            self._settle(name, events, futures, under_way)
        return futures

    def _under_way(self, name: str, events: Sequence[Event]) -> dict[str, Any]:
        """Return the futures of those of `events` that were handed over before and did not fail since."""
        if not self._undecided:
            return {}
        found: dict[str, Any] = {}
        with self._changed:
            for event in events:
                known = self._undecided.get((name, event.id))
                if known is not None and known[0] == event and not known[1].failed():
                    found[event.id] = known[1]
        return found

    def _make_room(self, wanted: int, deadline: float) -> None:
        most = self._settings.most_pending
        with self._changed:
            free = self._changed.wait_for(
                lambda: self._pending + wanted <= most, max(0.0, deadline - time.monotonic())
            )
            if not free:
                raise LogUnavailable(
                    f"{self._pending} events wait for the Kafka brokers at {self._settings.bootstrap}, "
                    "and no more are taken until some have been acknowledged."
                )
            self._pending += wanted

    def _opened(self) -> Any:
        with self._changed:
            if self._closed:
                raise LogUnavailable("The event log was closed.")
            if self._suspect and self._users == 1 and not any(not f.is_done for _, f in self._undecided.values()):
                # A producer to which a broker said no for good takes nothing more; nothing of it is under way.
                close_producer(self._producer, _CLOSE_S)
                self._producer, self._suspect = None, False
            if self._producer is None:
                if time.monotonic() - self._failed_at < _FAIL_FAST_S:
                    raise nobody_there(self._settings)
                try:
                    self._producer = new_producer(self._settings)
                except Exception:
                    self._failed_at = time.monotonic()
                    raise
            return self._producer

    def _wait(self, futures: Sequence[Any], deadline: float) -> None:
        for future in futures:
            if not future.is_done:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise nobody_there(self._settings)
                try:
                    future.get(left_s)
                except kafka_errors.KafkaTimeoutError:
                    raise nobody_there(self._settings) from None
            if future.failed():
                raise future.exception

    def _settle(
        self, name: str, events: Sequence[Event], futures: Sequence[Any], under_way: Mapping[str, Any]
    ) -> None:
        """Forget what is decided, remember what is not, and make room accordingly."""
        waiting = []
        with self._changed:
            freed = len(events) - len(futures) - sum(event.id in under_way for event in events[len(futures) :])
            whole = len(futures) == len(events) and all(one.is_done and not one.failed() for one in futures)
            for event, future in zip(events, futures, strict=False):
                key = (name, event.id)
                if future.is_done:
                    self._suspect = self._suspect or future.failed()
                    freed += event.id not in under_way
                elif event.id not in under_way:
                    waiting.append(future)
                if not whole and not (future.is_done and future.failed()):
                    # The caller comes back with all of this append's events, the acknowledged ones too.
                    self._undecided[key] = (event, future)
                elif self._undecided:
                    self._undecided.pop(key, None)
            self._waiting += len(waiting)
            self._pending -= freed
            self._forget_oldest()
            self._changed.notify_all()
        if waiting:
            metrics.gauge(metrics.LOG_UNDECIDED, self._waiting)
        for future in waiting:
            future.add_both(self._decided)

    def _remember(self, name: str, taken: Sequence[tuple[Event, Any]]) -> None:
        """Keep in mind what is acknowledged of an append that failed further on."""
        with self._changed:
            for event, future in taken:
                self._undecided[name, event.id] = (event, future)
            self._forget_oldest()

    def _decided(self, _: Any) -> None:
        with self._changed:
            self._pending -= 1
            self._waiting -= 1
            if not self._waiting:
                metrics.gauge(metrics.LOG_UNDECIDED, 0)
            self._changed.notify_all()

    def _forget_oldest(self) -> None:
        """Let go of decided events that nobody came back for."""
        while len(self._undecided) > 2 * self._settings.most_pending:
            oldest = next(iter(self._undecided))
            if not self._undecided[oldest][1].is_done:
                return
            del self._undecided[oldest]
